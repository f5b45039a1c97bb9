"""Our weights in Cellpose 3 itself, where it is installed (`make peers`)."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cellpose import peer_python
from clgkit.segmentation.cellpose import options_like, segment_section
from clgkit.segmentation.cellpose_network import CellposeNetwork
from clgkit.segmentation.cellpose_recipe import FULL
from clgkit.segmentation.cellpose_state import CellposeLayout
from tests.unit.cellpose_scene import disks, random_state

training = pytest.importorskip("clgkit.segmentation.cellpose_training", exc_type=ImportError)

RUNNER = Path(__file__).parents[2] / "benchmarks" / "peers" / "segment.py"
ROUNDING = 2e-4  # resizing, amplified by the network


def test_cellpose_3_opens_our_weights_and_finds_the_same(tmp_path: Path) -> None:
    python = peer_python()
    if python is None:
        pytest.skip("Cellpose 3 is not installed: make .venv-peers/cellpose.stamp")
    network = CellposeNetwork(random_state(CellposeLayout(FULL)))
    image = disks(0, 64, 12).image
    weights, source, target = (tmp_path / name for name in ("mine.pth", "in.npz", "out.npz"))
    weights.write_bytes(training.pack_weights(network))
    np.savez(source, slices=image[np.newaxis], diameter_px=15.0)

    done = subprocess.run(
        [python, RUNNER, weights, source, target], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    ours = segment_section(image, network, diameter_px=15, options=options_like("cellpose3"))
    with np.load(target) as out:
        largest = np.abs(out["flows"]).max()
        np.testing.assert_allclose(ours.flows, out["flows"][0], atol=ROUNDING * max(1, largest))
        np.testing.assert_array_equal(ours.labels, out["masks"][0])
