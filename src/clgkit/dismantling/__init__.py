"""Take a network apart: removal orders, the curve of the largest component, its area.

Graphs are symmetric compressed sparse rows ``(indptr, indices)`` without self-loops.
`lcc_curve` measures any order in nearly linear time; `attack_in_order`, `attack_by_degree`
and `attack_by_betweenness` remove nodes until the largest component has shrunk to a target
and return an `Attack`.  Ties always go to the lowest node.
"""

from clgkit.dismantling.attack import (
    Attack,
    attack_in_order,
    auc,
    auc_simpson,
    lcc_curve,
    robustness,
    stop_index,
    stop_size,
)
from clgkit.dismantling.targeted import attack_by_betweenness, attack_by_degree

__all__ = [
    "Attack",
    "attack_by_betweenness",
    "attack_by_degree",
    "attack_in_order",
    "auc",
    "auc_simpson",
    "lcc_curve",
    "robustness",
    "stop_index",
    "stop_size",
]
