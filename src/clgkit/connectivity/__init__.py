"""From traces to a graph: correlations of all pairs, their percentiles, and a threshold.

`unit_rows` scales traces once; `correlation_histogram`, `percentiles`, `threshold_graph`,
`density_threshold` and `eigenvector_of_correlation` then walk over blocks of the
correlation matrix, which never exists as a whole.  Rows that are constant or not finite
are excluded and flagged, never silently compared.
"""

from clgkit.connectivity.centrality import eigenvector_of_correlation
from clgkit.connectivity.correlation import (
    UnitRows,
    correlation_histogram,
    percentiles,
    unit_rows,
)
from clgkit.connectivity.threshold import Edges, density_threshold, threshold_graph

__all__ = [
    "Edges",
    "UnitRows",
    "correlation_histogram",
    "density_threshold",
    "eigenvector_of_correlation",
    "percentiles",
    "threshold_graph",
    "unit_rows",
]
