"""Drawings follow the colours of the page; images are what they were."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from clgkit.report import drawing


def draw(figure: Figure) -> None:
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=drawing.BLUE)
    panel.set_title("cost $5 & <b>")
    panel.imshow(np.eye(3))


def made(name: str = "a") -> str:
    return drawing.svg(draw, name=name, alt='say "hi" <now>', height_in=2)


def test_colours_are_those_of_the_page() -> None:
    assert "var(--blue)" in made()
    assert "currentColor" in made()
    assert drawing.INK not in made()


def test_the_alternative_text_is_escaped() -> None:
    assert 'aria-label="say &quot;hi&quot; &lt;now&gt;"' in made()


def test_text_is_text_and_no_formula() -> None:
    assert "cost $5 &amp; &lt;b&gt;" in made()


def test_ids_differ_between_figures_and_references_hold() -> None:
    first, second = (set(re.findall(r'\bid="([^"]+)"', made(name))) for name in "ab")

    assert not first & second
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', made("a")))
    assert used
    assert used <= first


def test_nothing_is_left_of_the_file_it_was() -> None:
    text = made()

    assert text.startswith("<svg")
    assert text.endswith("</svg>")
    for part in ("<?xml", "<!DOCTYPE", "<metadata", "matplotlib.org"):
        assert part not in text


def test_drawing_twice_gives_the_same() -> None:
    assert made() == made()


def test_the_style_of_others_is_left_alone() -> None:
    import matplotlib as mpl

    before = mpl.rcParams["svg.fonttype"]
    made()

    assert mpl.rcParams["svg.fonttype"] == before


def decoded(address: str) -> np.ndarray:
    head, _, content = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(imread(io.BytesIO(base64.b64decode(content)), format="png"))


def test_a_grey_image_comes_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9), np.uint8)

    np.testing.assert_array_equal(np.rint(decoded(drawing.png(pixels)) * 255), pixels)


@pytest.mark.parametrize("width", [1, 7, 8, 9])
def test_a_mask_is_transparent_where_it_is_false(width: int) -> None:
    mask = np.random.default_rng(1).random((6, width)) > 0.5

    shown = decoded(drawing.mask_png(mask, (255, 176, 0)))

    np.testing.assert_array_equal(shown[..., 3] > 0, mask)
    np.testing.assert_allclose(shown[mask][:, :3], np.tile([1, 176 / 255, 0], (mask.sum(), 1)))
