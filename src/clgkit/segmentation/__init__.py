"""Nuclei of a structural stack: finding them, putting their ids in order, scoring them.

`segment_classical` labels the nuclei of a stack without any training; its steps
(`seed_statistics`, `seed_threshold`, `find_seeds`, `grow_nuclei`) work on the tiles of
`plan_tiles`, so that a stack of any size can be streamed with the same result.
`score_labels` compares labels with the truth; `relabel` makes ids compact.
"""

from clgkit.segmentation.classical import (
    Seeds,
    SeedStatistics,
    find_seeds,
    grow_nuclei,
    halo_voxels,
    sample_stride,
    seed_statistics,
    seed_threshold,
    segment_classical,
)
from clgkit.segmentation.score import (
    Matches,
    OverlapTable,
    Score,
    match_labels,
    overlap_table,
    score_labels,
)
from clgkit.segmentation.tidy import Relabelled, relabel, remove_small, scattered_ids
from clgkit.segmentation.tiles import Tile, plan_tiles

__all__ = [
    "Matches",
    "OverlapTable",
    "Relabelled",
    "Score",
    "SeedStatistics",
    "Seeds",
    "Tile",
    "find_seeds",
    "grow_nuclei",
    "halo_voxels",
    "match_labels",
    "overlap_table",
    "plan_tiles",
    "relabel",
    "remove_small",
    "sample_stride",
    "scattered_ids",
    "score_labels",
    "seed_statistics",
    "seed_threshold",
    "segment_classical",
]
