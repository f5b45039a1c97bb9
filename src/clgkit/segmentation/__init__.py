"""Nuclei of a structural stack: finding them, putting their ids in order, scoring them.

`segment_classical` labels the nuclei of a stack without any training; its steps
(`seed_statistics`, `seed_threshold`, `find_seeds`, `grow_nuclei`) work on the tiles of
`plan_tiles`, so that a stack of any size can be streamed with the same result.
`stitch_chains` joins the sections that a 2-D program found in single slices into nuclei.
`score_labels` compares labels with the truth; `relabel` makes ids compact.
"""

from clgkit.segmentation.chains import ChainRule, Chains, SectionTable, find_chains
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
from clgkit.segmentation.score_groups import (
    axial_errors,
    score_by_brightness,
    score_by_depth,
    score_centers,
)
from clgkit.segmentation.stitch import iterate_like_cellpose, stitch_chains, stitch_like_cellpose
from clgkit.segmentation.tidy import (
    Relabelled,
    border_ids,
    compact_ids,
    keep_largest_pieces,
    keep_rule,
    label_sizes,
    merge_labels,
    relabel,
    remove_small,
    scattered_ids,
    separate_pieces,
)
from clgkit.segmentation.tidy_shape import fill_holes, smooth_labels, split_label
from clgkit.segmentation.tiles import Tile, plan_tiles

__all__ = [
    "ChainRule",
    "Chains",
    "Matches",
    "OverlapTable",
    "Relabelled",
    "Score",
    "SectionTable",
    "SeedStatistics",
    "Seeds",
    "Tile",
    "axial_errors",
    "border_ids",
    "compact_ids",
    "fill_holes",
    "find_chains",
    "find_seeds",
    "grow_nuclei",
    "halo_voxels",
    "iterate_like_cellpose",
    "keep_largest_pieces",
    "keep_rule",
    "label_sizes",
    "match_labels",
    "merge_labels",
    "overlap_table",
    "plan_tiles",
    "relabel",
    "remove_small",
    "sample_stride",
    "scattered_ids",
    "score_by_brightness",
    "score_by_depth",
    "score_centers",
    "score_labels",
    "seed_statistics",
    "seed_threshold",
    "segment_classical",
    "separate_pieces",
    "smooth_labels",
    "split_label",
    "stitch_chains",
    "stitch_like_cellpose",
]
