"""`clg deconvolve` on plain files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.conftest import SHARED
from tests.unit.deconvolution_scene import nuclei

Clg = Callable[..., tuple[int, str, str]]
MEASURED = ("--method", "richardson_lucy", "--psf", "measured", "--deconvolution-iterations", "2")
QUICK = ("--iterations", "2", "--axes", "zyx")


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "stack.tif"
    pixels = nuclei((4, 40, 40)).astype(np.uint16) + np.uint16(100)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    return path


@pytest.fixture
def bead(tmp_path: Path) -> Path:
    y, x = np.ogrid[-20:21, -20:21]
    path = tmp_path / "bead.tif"
    light = 100 + 1000 * np.exp(-(y**2 + x**2) / 18)
    tifffile.imwrite(path, light.astype(np.uint16)[None], photometric="minisblack")
    return path


def test_a_stack_is_written(clg: Clg, stack: Path) -> None:
    out = stack.with_name("out.tif")

    code, told, _ = clg("deconvolve", stack, out, *QUICK, "--offset", "100")

    made = tifffile.imread(out)
    assert (code, made.shape, made.dtype) == (0, (4, 40, 40), np.float32)
    assert f"Wrote {out}" in told
    light = tifffile.imread(stack).astype(float) - 100
    assert made.mean() == pytest.approx(light.mean(), rel=0.05)


def test_the_kernel_of_a_bead_is_used(clg: Clg, stack: Path, bead: Path) -> None:
    out, before = stack.with_name("out.tif"), stack.with_name("before.tif")
    psf = ("--psf-file", bead, "--psf-axes", "zyx", "--denoised", before)

    code, _, err = clg("deconvolve", stack, out, *QUICK, *MEASURED, *psf)

    assert code == 0, err
    denoised, sharp = tifffile.imread(before), tifffile.imread(out)
    assert sharp.std() > 1.05 * denoised.std()


def test_the_kernel_is_resampled_where_both_voxels_are_known(
    clg: Clg, stack: Path, bead: Path
) -> None:
    made = []
    for name, sizes in (("as_is", ()), ("known", ("--psf-voxel-um", "1,0.1,0.1"))):
        out = stack.with_name(f"{name}.tif")
        psf = ("--psf-file", bead, "--psf-axes", "zyx", "--voxel-um", "1,0.2,0.2", *sizes)
        assert clg("deconvolve", stack, out, *QUICK, *MEASURED, *psf)[0] == 0
        made.append(tifffile.imread(out))

    # On pixels twice as large the bead is half as wide, and less is sharpened.
    assert made[1].std() < made[0].std()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real files are not at hand")
def test_a_published_psf_full_of_nan_is_refused(clg: Clg, stack: Path) -> None:
    bad = SHARED / "data" / "badinputs" / "all_nan_psf_real.tif"
    out = stack.with_name("out.tif")

    code, _, err = clg(
        "deconvolve", stack, out, *QUICK, *MEASURED, "--psf-file", bad, "--psf-axes", "zyx"
    )

    assert code == 3
    assert "all_nan_psf_real.tif: The PSF holds 922500 NaN or infinite of 922500 values." in err
    assert not out.exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real files are not at hand")
@pytest.mark.parametrize(
    ("name", "code"), [("pycudadecon_psf.tif", 0), ("bia_beads_41x150x150.tif", 3)]
)
def test_real_psf_files(clg: Clg, stack: Path, name: str, code: int) -> None:
    psf = ("--psf-file", SHARED / "data" / "psf" / name, "--psf-axes", "zyx")

    found, _, err = clg("deconvolve", stack, stack.with_name("o.tif"), *QUICK, *MEASURED, *psf)

    assert found == code
    assert ("cut the image down to one bead" in err) == bool(code)


def test_a_kernel_without_its_method_is_refused(clg: Clg, stack: Path, bead: Path) -> None:
    out = stack.with_name("out.tif")

    code, _, err = clg("deconvolve", stack, out, *QUICK, "--psf-file", bead, "--psf-axes", "zyx")

    assert code == 2
    assert 'used with psf = "measured" only, and psf is "gaussian" here' in err


def test_voxels_must_be_known_where_the_kernel_needs_them(clg: Clg, stack: Path) -> None:
    sharpen = ("--method", "richardson_lucy", "--fwhm-um", "0.5")

    code, _, err = clg("deconvolve", stack, stack.with_name("out.tif"), *QUICK, *sharpen)

    assert code == 3
    assert "does not say how large a voxel is" in err
