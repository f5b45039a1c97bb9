"""Score labels with another program, in its own environment.

``python score.py cellpose|stardist input.npz output.npz``.  The input holds `truth` and
`predicted` (pairs, Z, Y, X), ids 1, 2, ... without gaps, and the overlaps `iou` (k,) that make a
match.  The output holds `scores` (pairs, k, n), their `names` (n,), and `version`.
"""

# ruff: noqa: ANN001, ANN201, PLC0415  (types and imports are another program's)

import sys
from importlib import metadata

import numpy as np


def with_cellpose(truth, predicted, iou):
    """Average precision, as Cellpose uses the word."""
    from cellpose.metrics import average_precision

    return {"ap": average_precision(list(truth), list(predicted), threshold=list(iou))[0]}


def with_stardist(truth, predicted, iou):
    """Everything that its matching returns and we have."""
    from stardist.matching import matching

    names = {
        "ap": "accuracy",
        "precision": "precision",
        "recall": "recall",
        "f1": "f1",
        "pq": "panoptic_quality",
        "mean_matched_iou": "mean_matched_score",
    }
    made = [[matching(*pair, thresh=t) for t in iou] for pair in zip(truth, predicted, strict=True)]
    return {ours: [[getattr(m, name) for m in row] for row in made] for ours, name in names.items()}


def main():
    """Run one program on one file."""
    name, source, target = sys.argv[1:]
    given = np.load(source)
    score = {"cellpose": with_cellpose, "stardist": with_stardist}[name]
    made = score(given["truth"], given["predicted"], [float(t) for t in given["iou"]])
    scores = np.stack([np.asarray(part, np.float64) for part in made.values()], axis=-1)
    np.savez(target, scores=scores, names=list(made), version=metadata.version(name))


if __name__ == "__main__":
    main()
