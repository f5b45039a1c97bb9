"""Segment slices with Cellpose 3, in its own environment.

``python segment.py weights.pth input.npz output.npz``.  The input holds `slices` (n, Y, X) and
`diameter_px`.  The output holds `masks` (n, Y, X), `flows` (n, 2, Y, X), `log_odds` (n, Y, X),
`cpu_s` of each slice, and `version`.
"""

# ruff: noqa: ANN201, PLC0415  (types and imports are another program's)

import sys
import time
from importlib import metadata

import numpy as np


def main():
    """Run the program on one file."""
    weights, source, target = sys.argv[1:]
    import torch
    from cellpose import models

    torch.set_num_threads(1)
    given = np.load(source)
    model = models.CellposeModel(gpu=False, pretrained_model=weights)
    diameter = float(given["diameter_px"])
    options = {"channels": [0, 0], "diameter": diameter, "batch_size": 8}
    model.eval(given["slices"][0], **options)
    masks, flows, log_odds, cpu_s = [], [], [], []
    for part in given["slices"]:
        start = time.process_time()
        found, maps, _ = model.eval(part, **options)
        cpu_s.append(time.process_time() - start)
        masks.append(found)
        flows.append(maps[1])
        log_odds.append(maps[2])
    np.savez(
        target,
        masks=np.stack(masks),
        flows=np.stack(flows),
        log_odds=np.stack(log_odds),
        cpu_s=cpu_s,
        version=metadata.version("cellpose"),
    )


if __name__ == "__main__":
    main()
