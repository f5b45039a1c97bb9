"""A run with the image of a bead: read, noticed when it changes, refused, as the command has it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from clgkit.data import volume
from clgkit.errors import DataError, SettingsError
from clgkit.io import write_tiff
from clgkit.pipeline import settings
from clgkit.pipeline.models import read_bead
from clgkit.pipeline.store import Store
from tests.pipeline.tiny import compute, opened, states

Clg = Callable[..., tuple[int, str, str]]
SHARP = (
    "deconvolve.iterations=2", 'deconvolve.method="richardson_lucy"', 'deconvolve.psf="measured"',
    "deconvolve.deconvolution_iterations=2",
)  # fmt: skip
WITH_BEAD = (*SHARP, 'psf.path="bead.tif"', 'psf.axes="zyx"')
WORDS = (
    "--iterations", "2", "--method", "richardson_lucy", "--psf", "measured",
    "--deconvolution-iterations", "2", "--psf-axes", "zyx", "--memory-mb", "2000",
)  # fmt: skip


def write_bead(path: Path, fwhm_px: float = 3.0) -> Path:
    y, x = np.ogrid[-20:21, -20:21]
    light = 100 + 1000 * np.exp(-4 * np.log(2) * (y**2 + x**2) / fwhm_px**2)
    tifffile.imwrite(path, light.astype(np.uint16)[None], photometric="minisblack")
    return path


@pytest.mark.parametrize("sizes", [(), ("1,0.4,0.4",)], ids=["unknown", "known"])
def test_a_run_gives_the_bytes_of_the_command(clg: Clg, fish: Path, sizes: tuple[str]) -> None:
    bead = write_bead(fish / "bead.tif")
    known = [f"psf.voxel_um=[{text}]" for text in sizes]
    outcome = compute(fish, *WITH_BEAD, *known, until="deconvolve")
    assert outcome.computed == ["deconvolve"]
    found = Store(fish).result("deconvolve").array("deconvolved").values
    out = fish / "out.tif"
    structure = settings.load(fish)["structure"]
    given = ["--axes", structure.axes or "zyx"]
    if structure.voxel_um:
        given += ["--voxel-um", ",".join(map(str, structure.voxel_um))]
    beside = [word for text in sizes for word in ("--psf-voxel-um", text)]

    code, _, err = clg(
        "deconvolve", fish / structure.path, out, *WORDS, *given, "--psf-file", bead, *beside
    )

    assert code == 0, err
    np.testing.assert_array_equal(tifffile.imread(out), found)


def test_another_bead_is_noticed_and_one_that_goes_is_named(fish: Path) -> None:
    write_bead(fish / "bead.tif")
    kernel = (*SHARP, "deconvolve.kernel=[[1.0, 2.0, 1.0]]")
    compute(fish, *WITH_BEAD, until="deconvolve")
    assert states(fish, *WITH_BEAD)["deconvolve"] == "current"

    finer = states(fish, *WITH_BEAD, "psf.voxel_um=[1, 0.1, 0.1]")["deconvolve"]
    gone = states(fish, *kernel)["deconvolve"]
    write_bead(fish / "bead.tif", fwhm_px=3.5)
    other = states(fish, *WITH_BEAD)["deconvolve"]

    assert finer == other == "stale psf changed"
    assert gone.endswith("psf is gone")


def test_a_bead_alone_asks_for_no_deconvolution(finished: Path) -> None:
    write_bead(finished / "bead.tif")

    found = states(finished, 'psf.path="bead.tif"')

    assert "deconvolve" not in found
    assert set(found.values()) == {"current"}


def test_a_stack_without_a_bead_keeps_its_key(fish: Path) -> None:
    write_bead(fish / "bead.tif")
    steps = [
        {step.name: step for step in opened(fish, "deconvolve.iterations=2", *more).plan()}
        for more in ((), ('deconvolve.psf="measured"', 'psf.path="bead.tif"'))
    ]

    assert set(steps[0]["deconvolve"].inputs) == {"structure"}
    assert set(steps[1]["deconvolve"].inputs) == {"structure", "psf"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (SHARP, r"needs its numbers; give them as kernel, .* \[psf\] path in a run"),
        ((*WITH_BEAD, 'deconvolve.psf="gaussian"', "deconvolve.fwhm_um=1"), 'psf is "gaussian"'),
        ((*WITH_BEAD, "deconvolve.kernel=[[1.0]]"), "leave out one of them"),
    ],
)
def test_what_does_not_go_together_is_refused_when_the_settings_are_read(
    fish: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        opened(fish, *overrides)


def test_a_bead_is_opened_before_the_first_frame(clg: Clg, fish: Path) -> None:
    (fish / "bead.tif").write_bytes(b"no image at all")
    asked = [f"--set={text}" for text in WITH_BEAD]

    code, _, err = clg("run", fish, "--no-report", *asked)

    assert code == 3
    assert "bead.tif" in err
    assert not (fish / "correct_motion").exists()


def test_the_settings_file_tells_of_the_bead(tmp_path: Path) -> None:
    text = settings.write(tmp_path).read_text(encoding="utf-8")

    assert '# Image of one small bead, for deconvolve.psf = "measured" (optional).\n[psf]' in text
    assert "[psf] path in a run" in text


def test_a_bead_takes_from_the_stack_what_nothing_says(tmp_path: Path) -> None:
    like = volume(np.zeros((2, 8, 8)), voxel_um=(1.5, 0.4, 0.3))
    path = write_bead(tmp_path / "bead.tif")
    image = tifffile.imread(path)
    flat, fine = tmp_path / "flat.npy", tmp_path / "fine.tif"
    np.save(flat, image[0])
    write_tiff(fine, image, axes="zyx", voxel_um=(1.0, 0.2, 0.1))

    def step(bead: Path, **given: object) -> list[float]:
        found = read_bead(bead, like=like, **given)  # type: ignore[arg-type]
        return [float(found.coords[dim].values[1]) for dim in "yx"]

    assert step(path, axes="zyx") == [0.4, 0.3]
    assert step(flat, axes="yx") == [0.4, 0.3]
    assert step(flat, axes="yx", voxel_um=(1.0, 0.7, 0.6)) == [0.7, 0.6]
    assert step(fine) == pytest.approx([0.2, 0.1])


def test_a_movie_is_no_bead(tmp_path: Path) -> None:
    np.save(tmp_path / "movie.npy", np.zeros((3, 1, 8, 8)))
    like = volume(np.zeros((2, 8, 8)), voxel_um=(1.5, 0.4, 0.3))

    with pytest.raises(DataError, match="3 time points"):
        read_bead(tmp_path / "movie.npy", like=like, axes="tzyx")
