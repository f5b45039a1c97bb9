"""Results of every stage on a very small fish, made once."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from tests.contract.fish import chain, inputs_of


@pytest.fixture(scope="session")
def results() -> dict[str, Any]:
    return chain()


@pytest.fixture(scope="session")
def inputs(results: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    return lambda name: inputs_of(name, results)


@pytest.fixture(scope="session")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


BLOCK_MB = {"correct_motion": 0.06, "apply_motion": 0.06, "extract_traces": 0.06}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Cut everything that the stage `name` works on into many small blocks."""
    from clgkit import deconvolution, workspace
    from clgkit.stages import compute_dff, denoise_traces, segment_nuclei

    name = request.node.callspec.params["name"]
    monkeypatch.setattr(workspace, "BLOCK_MB", BLOCK_MB.get(name, 0.002))
    monkeypatch.setattr(compute_dff, "ROWS", 7)
    monkeypatch.setattr(denoise_traces, "ROWS", 11)
    monkeypatch.setattr(segment_nuclei, "CORE_PX", {"z": 17, "y": 50, "x": 47})
    monkeypatch.setattr(segment_nuclei, "SLAB_PX", 7)
    monkeypatch.setattr(deconvolution, "choose_core", lambda *_, **__: (17, 50, 47))
