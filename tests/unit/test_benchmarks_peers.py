"""Other programs, each in its own environment, where they are installed (`make peers`)."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _peers, labels, scoring
from clgkit.segmentation import score_labels, stitch_like_cellpose

ROUNDING = scoring.EQUAL  # both programs round to float32 somewhere


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment whose interpreter is this one, and a folder of scripts."""
    python = tmp_path / "own" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (tmp_path / "peers").mkdir()
    monkeypatch.setenv("CLGKIT_PEERS", str(tmp_path))
    monkeypatch.setattr(_peers, "FOLDER", tmp_path)
    return tmp_path / "peers" / "double.py"


def installed(environment: str) -> None:
    if _peers.python_of(environment) is None:
        pytest.skip(f"{environment} is not installed: make .venv-peers/{environment}.stamp")


def test_arrays_go_there_and_back(stand_in: Path) -> None:
    stand_in.write_text(
        "import sys, numpy as np\n"
        "word, source, target = sys.argv[1:]\n"
        "np.savez(target, twice=2 * np.load(source)['once'], word=word)\n"
    )

    answer = _peers.ask("own", "double.py", "hello", given={"once": np.arange(3)})

    assert answer is not None
    assert answer["twice"].tolist() == [0, 2, 4]
    assert str(answer["word"]) == "hello"


def test_an_environment_that_is_missing_gives_no_answer(stand_in: Path) -> None:
    stand_in.write_text("")

    assert _peers.python_of("other") is None
    assert _peers.ask("other", "double.py", given={}) is None


def test_a_program_that_fails_says_its_last_line(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.write_text("raise SystemExit('no room left')")

    assert _peers.ask("own", "double.py", given={}) is None
    assert "no room left" in capsys.readouterr().out


def test_cellpose_itself_joins_sections_as_our_copy_of_its_rule() -> None:
    installed("cellpose")
    stack = labels.lose_sections(labels.packed("toy"), 0.05)
    pair = labels.slice_pairs("toy")[1]

    given = {"stack_0": stack, "stack_1": pair, "repeat": np.array(1)}
    answer = _peers.ask("cellpose", "stitch.py", given=given)

    assert answer is not None
    assert answer["cpu_s"].shape == (2, 1)
    for name, sections in (("joined_0", stack), ("joined_1", pair)):
        score = score_labels(answer[name].astype(np.uint32), stitch_like_cellpose(sections), iou=1)
        assert score.ap == 1


@pytest.mark.parametrize("program", ["cellpose", "stardist"])
def test_scores_are_those_of_the_program(program: str) -> None:
    installed(program)
    made = scoring.pairs("toy")

    answer = scoring.asked(program, made)

    assert answer is not None
    names = answer["names"].tolist()
    where = np.array(scoring.OVERLAPS[program]) >= 0.5
    ours = scoring.our_scores(made, names, scoring.OVERLAPS[program])
    np.testing.assert_allclose(ours[:, where], answer["scores"][:, where], atol=ROUNDING, rtol=0)
    counted = [k for k, name in enumerate(names) if name in scoring.COUNTED]
    np.testing.assert_allclose(
        ours[..., counted], answer["scores"][..., counted], atol=ROUNDING, rtol=0
    )
