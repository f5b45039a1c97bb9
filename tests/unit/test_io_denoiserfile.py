"""Weights on the disk: ours, published ones, damaged ones, and ones that would run a program."""

import importlib.util
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="weights are read with torch")

from clgkit.denoising.support_net import build_network, new_network, state_arrays  # noqa: E402
from clgkit.errors import DataError, MissingDependency  # noqa: E402
from clgkit.io.denoiserfile import check_ending, read_denoiser, write_denoiser  # noqa: E402
from tests.unit.denoiser_scene import tiny_layout  # noqa: E402


def state(**changes: Any) -> dict[str, Any]:
    return state_arrays(new_network(tiny_layout(**changes), seed=4))


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def test_weights_and_what_they_are_come_back(tmp_path: Path) -> None:
    path, weights = tmp_path / "d.pth", state()

    write_denoiser(path, weights, {"layout": {"n_frames": 3}, "note": "größer"})
    found = read_denoiser(path)

    assert found.configuration == {"layout": {"n_frames": 3}, "note": "größer"}
    assert list(found.state) == list(weights)
    for name, values in weights.items():
        np.testing.assert_array_equal(found.state[name], values)
        assert found.state[name].dtype == np.float32
    assert [file.name for file in tmp_path.iterdir()] == ["d.pth"]


def test_a_file_of_ours_loads_where_a_published_one_does(tmp_path: Path) -> None:
    path, weights = tmp_path / "d.pth", state(blind_spot=(3, 3))
    write_denoiser(path, weights, {"layout": tiny_layout(blind_spot=(3, 3)).as_dict()})
    theirs = new_network(tiny_layout(blind_spot=(3, 3)), seed=9)

    answer = theirs.load_state_dict(torch.load(path, weights_only=True))  # strict

    assert not answer.missing_keys
    assert not answer.unexpected_keys
    for name, values in state_arrays(theirs).items():
        np.testing.assert_array_equal(values, weights[name])


def test_a_published_file_loads_here(tmp_path: Path) -> None:
    net = new_network(tiny_layout(blind_spot=(3, 3)), seed=9)
    path = saved(tmp_path / "published.pth", net.state_dict())

    found = read_denoiser(path)

    assert found.configuration == {}
    made = build_network(found.state, blind_spot=(3, 3))
    np.testing.assert_array_equal(state_arrays(made)["enc_layers.0.bias"],
                                  state_arrays(net)["enc_layers.0.bias"])  # fmt: skip


def test_names_of_a_parallel_training_are_made_plain(tmp_path: Path) -> None:
    given = {f"module.{name}": torch.tensor(values) for name, values in state().items()}

    found = read_denoiser(saved(tmp_path / "p.pth", given))

    assert list(found.state) == list(state())


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    found = read_denoiser(saved(tmp_path / "h.pth", {"a": torch.ones(2, dtype=torch.bfloat16)}))

    assert found.state["a"].dtype == np.float32


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this was run",))


def test_a_program_in_a_file_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "bad.pth", {"a": Runs()})
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps(Runs()))

    for file in (path, plain):
        with pytest.raises(DataError, match="could run a program") as told:
            read_denoiser(file)
        assert told.value.code == "E_SHAPE"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "holds no weights but list"),
        ({}, "holds no weights but dict"),
        (torch.zeros(3), "holds no weights but Tensor"),
        ({"model": {"a": torch.zeros(1)}}, "'model', which is no weight"),
        ({3: torch.zeros(1)}, "3, which is no weight"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_denoiser(saved(tmp_path / "x.pth", value))


def test_damaged_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "d.pth"
    write_denoiser(path, state(), {})
    whole = path.read_bytes()

    for content in (b"", whole[: len(whole) // 2], b"not weights at all", whole[:100]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"d\.pth") as told:
            read_denoiser(path)
        assert told.value.code in ("E_TRUNCATED", "E_SHAPE")
        assert "\n" not in told.value.message


def test_a_configuration_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    made: Any = OrderedDict(a=torch.zeros(1))
    for text in ("{", 7):
        made._metadata = OrderedDict(clgkit=text)
        with pytest.raises(DataError, match="does not say what its weights are"):
            read_denoiser(saved(tmp_path / "c.pth", made))
    made._metadata = OrderedDict(clgkit="[1]")
    assert read_denoiser(saved(tmp_path / "c.pth", made)).configuration == {}


def test_missing_files_and_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*clg train-denoiser makes one"):
        read_denoiser(tmp_path / "none.pth")
    with pytest.raises(DataError, match=r"weights are written as \.pth"):
        write_denoiser(tmp_path / "d.h5", state(), {})
    with pytest.raises(DataError, match="no folder"):
        check_ending(tmp_path / "none" / "d.pth")
    assert check_ending(tmp_path / "d.PTH").name == "d.PTH"
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "d.pth"
    write_denoiser(path, state(), {"n": 1})

    with pytest.raises(TypeError):
        write_denoiser(path, state(), {"n": object()})

    assert read_denoiser(path).configuration == {"n": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).mkdir()
        write_denoiser(tmp_path / name / "d.pth", state(), {"b": 1, "a": 2})

    one, other = ((tmp_path / name / "d.pth").read_bytes() for name in ("a.pth", "b.pth"))
    assert len(one) == len(other)


def test_without_torch_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "d.pth", {"a": torch.zeros(1)})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(MissingDependency, match=r"pip install 'clgkit\[deep\]'"):
        read_denoiser(path)
