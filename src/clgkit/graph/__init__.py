"""Measures of a graph given as compressed sparse rows ``(indptr, indices)``.

Every graph is undirected and without self-loops; `from_pairs` makes one of any list of
pairs.  Disconnected graphs, graphs without edges, with one node or with none are legal
everywhere and give zeros or empty arrays.
"""

from clgkit.graph.betweenness import betweenness
from clgkit.graph.build import Adjacency, from_pairs
from clgkit.graph.centrality import eigenvector_centrality
from clgkit.graph.clustering import clustering, transitivity
from clgkit.graph.components import Components, connected_components
from clgkit.graph.degree import DegreeDistribution, degree, degree_distribution

__all__ = [
    "Adjacency",
    "Components",
    "DegreeDistribution",
    "betweenness",
    "clustering",
    "connected_components",
    "degree",
    "degree_distribution",
    "eigenvector_centrality",
    "from_pairs",
    "transitivity",
]
