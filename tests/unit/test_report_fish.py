"""A simulated fish through the real stages gives a whole report."""

import numpy as np
import pytest

from clgkit import report
from clgkit.pipeline import settings
from clgkit.pipeline.runner import Run
from clgkit.simulate import Fish, preset
from clgkit.workspace import Workspace


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("fish")
    fish = Fish(preset("tiny", seed=1))
    made = fish.settings
    movie = np.stack([fish.movie_block(p, 0, made.n_frames) for p in range(made.n_planes)], axis=1)
    np.save(folder / "function.npy", movie)
    np.save(folder / "structure.npy", fish.structure_block(0, made.shape_px[0]))
    z, y, x = made.voxel_um
    pitch = float(np.diff(fish.slice_of_plane).mean()) * z
    function = {"axes": "tzyx", "voxel_um": [pitch, 2 * y, 2 * x], "rate_hz": made.rate_hz}
    structure = {"axes": "zyx", "voxel_um": list(made.voxel_um)}
    settings.write(
        folder,
        {
            "function": {"path": "function.npy", **function},
            "structure": {"path": "structure.npy", **structure},
            "align_planes": {"drift_bin_s": 10.0},
            "dismantle": {"relative_to": "lcc"},
        },
    )
    run = Run(settings.load(folder))
    assert not run.execute(Workspace(executor="serial")).failed
    return run


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return report.build(run)


def test_all_sections_have_their_figures(page: str) -> None:
    # A sentence in place of a figure is allowed only where neurons have no dF/F.
    sentences = [part.partition("</p>")[0] for part in page.split('<p class="absent">')[1:]]
    assert all(sentence.startswith("Without dF/F") for sentence in sentences)
    assert page.count('<svg class="plot"') == 15
    assert page.count('class="compare"') == 3


def test_the_counts_are_those_of_the_stage(run: Run, page: str) -> None:
    manifest = run.store.manifest("merge_planes")
    assert manifest is not None
    counts = manifest.values["summary"]

    assert f"<strong>{counts['n_neurons']:,} neurons</strong>" in page
    assert f"<strong>{counts['n_rois_before']:,} ROIs</strong>" in page
