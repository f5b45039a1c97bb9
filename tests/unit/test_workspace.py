"""Where blocks run, how they are cut, and what becomes of failures."""

import os
import re
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from clgkit import workspace as workspace_module
from clgkit.blocks import Output, output
from clgkit.errors import DataError, MissingDependency, ResourceError, SettingsError
from clgkit.workspace import Workspace, failed_planes, processors

SERIAL = Workspace(executor="serial")


@pytest.fixture
def movie() -> xr.DataArray:
    pixels = np.random.default_rng(0).normal(size=(7, 3, 5, 4)).astype(np.float32)
    return xr.DataArray(
        pixels,
        dims=("time", "z", "y", "x"),
        coords={
            "time": ("time", np.arange(7) / 2, {"units": "s"}),
            "z": ("z", np.arange(3) * 6.0, {"units": "um"}),
            "plane": ("z", np.array([4, 5, 6])),
        },
        name="movie",
    )


def double(block: xr.DataArray) -> npt.NDArray[Any]:
    return np.asarray(block.values * 2)


def same(movie: xr.DataArray) -> list[Output]:
    return [output("doubled", ("time", "z", "y", "x"), movie)]


@pytest.mark.parametrize("split", [{"time": 1}, {"time": 3, "z": 2}, {"z": 1, "time": None}, {}])
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_blocks_are_put_together_again(
    movie: xr.DataArray, split: dict[str, int | None], executor: Any
) -> None:
    (made,) = Workspace(workers=2, executor=executor).map_blocks(
        double, movie, same(movie), split=split
    )

    np.testing.assert_array_equal(made.values, movie.values * 2)
    assert made.name == "doubled"


def test_an_output_takes_over_the_coordinates_of_its_dimensions(movie: xr.DataArray) -> None:
    made = output("spread", ("z", "statistic"), movie, np.float64, statistic=2)

    assert made.shape == (3, 2)
    assert made.dtype == np.float64
    assert set(made.coords) == {"z", "plane"}
    assert made.coords["z"][2] == {"units": "um"}


def test_several_outputs_may_have_other_dimensions(movie: xr.DataArray) -> None:
    def measure(block: xr.DataArray) -> tuple[Any, Any]:
        return block.values.mean((2, 3)), np.ones((len(block), block.sizes["z"], 2))

    made = SERIAL.map_blocks(
        measure,
        movie,
        [
            output("mean", ("time", "z"), movie, np.float64),
            output("ones", ("time", "z", "axis"), movie, axis=2),
        ],
        split={"time": 2, "z": 1},
    )

    np.testing.assert_array_equal(made[0].values, movie.values.mean((2, 3)))
    assert made[1].shape == (7, 3, 2)
    assert set(made[0].coords) == {"time", "z", "plane"}


def test_sources_share_the_dimensions_that_are_split(movie: xr.DataArray) -> None:
    template = movie.isel(time=0, drop=True)

    def subtract(block: xr.DataArray, reference: xr.DataArray) -> npt.NDArray[Any]:
        assert reference.dims == ("z", "y", "x")
        assert reference.sizes["z"] == block.sizes["z"] == 1
        return np.asarray(block.values - reference.values)

    (made,) = SERIAL.map_blocks(subtract, (movie, template), same(movie), split={"z": 1, "time": 2})

    np.testing.assert_array_equal(made.values, movie.values - movie.values[:1])


def test_sources_of_different_lengths_are_refused(movie: xr.DataArray) -> None:
    with pytest.raises(ValueError, match=r"do not agree on the length of 'z': \[2, 3\]"):
        SERIAL.map_blocks(
            lambda a, b: a.values + b.values.sum(),
            (movie, movie.isel(z=slice(2))),
            same(movie),
            split={"z": 1},
        )


@pytest.mark.parametrize("length", [1, 2, 3, 10])
def test_a_halo_gives_what_the_whole_gives(length: int) -> None:
    signal = xr.DataArray(np.random.default_rng(1).normal(size=23), dims=("x",))

    def smooth(block: xr.DataArray) -> npt.NDArray[Any]:
        padded = np.pad(block.values, 2, mode="constant")
        return np.convolve(padded, np.ones(5), mode="valid")

    (made,) = SERIAL.map_blocks(
        smooth, signal, [output("smooth", ("x",), signal, np.float64)],
        split={"x": length}, halo={"x": 2},
    )  # fmt: skip

    np.testing.assert_allclose(made.values, smooth(signal), rtol=0, atol=1e-14)  # order of sums


def block_lengths(movie: xr.DataArray, workspace: Workspace) -> list[int]:
    seen: list[int] = []

    def look(block: xr.DataArray) -> npt.NDArray[Any]:
        seen.append(block.sizes["time"])
        return block.values

    workspace.map_blocks(look, movie, same(movie), split={"z": 1, "time": None})
    return seen


def test_the_budget_is_shared_by_workers_and_copies(movie: xr.DataArray) -> None:
    # A frame of one plane is 20 pixels of 4 bytes, read and written: 160 bytes.
    for memory_mb, workers, longest in ((160 * 4 * 3 / 1e6, 1, 3), (160 * 4 * 4 / 1e6, 2, 2)):
        workspace = Workspace(workers=workers, executor="threads", memory_mb=memory_mb)

        assert max(block_lengths(movie, workspace)) == longest


def test_a_block_is_one_step_at_least_and_the_whole_at_most(movie: xr.DataArray) -> None:
    tiny = block_lengths(movie, Workspace(executor="serial", memory_mb=1e-9))
    large = block_lengths(movie, Workspace(executor="serial", memory_mb=1e6))

    assert tiny == [1] * 21
    assert large == [7] * 3


def test_only_one_dimension_may_be_left_open(movie: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="only one dimension may be left open, not time, z"):
        SERIAL.map_blocks(double, movie, same(movie), split={"time": None, "z": None})


def test_a_block_of_the_wrong_shape_is_a_bug_and_says_which(movie: xr.DataArray) -> None:
    with pytest.raises(TypeError, match=r"block time=0:2 of doubled has shape .* not \(2, 3, 5, 4"):
        SERIAL.map_blocks(lambda b: b.values[:, :1], movie, same(movie), split={"time": 2})


def test_the_result_has_the_dtype_it_was_promised(movie: xr.DataArray) -> None:
    (made,) = SERIAL.map_blocks(
        lambda b: (b.values > 0).astype(np.int64), movie,
        [output("positive", movie.dims, movie, np.uint8)], split={"time": 2},
    )  # fmt: skip

    assert made.dtype == np.uint8


def test_an_empty_source_gives_an_empty_result() -> None:
    nothing = xr.DataArray(np.zeros((0, 4), np.float32), dims=("neuron", "time"))

    (made,) = SERIAL.map_blocks(
        double, nothing, [output("doubled", ("neuron", "time"), nothing)], split={"neuron": 8}
    )

    assert made.shape == (0, 4)


def fail_on(plane: int, error: Exception, block: xr.DataArray) -> npt.NDArray[Any]:
    if int(block.coords["plane"].values[0]) == plane:
        raise error
    return np.asarray(block.values * 2)


@pytest.mark.parametrize("error", [ValueError("it is blank"), DataError("it is blank")])
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_a_failure_is_kept_to_its_plane_if_asked_for(
    movie: xr.DataArray, error: Exception, executor: Any
) -> None:
    (made,) = Workspace(workers=2, executor=executor).map_blocks(
        partial(fail_on, 5, error), movie, same(movie), split={"z": 1, "time": 3}, isolate="z"
    )

    assert list(failed_planes(made)) == [1]
    assert "it is blank" in failed_planes(made)[1]
    assert np.isnan(made.values[:, 1]).all()
    np.testing.assert_array_equal(made.values[:, [0, 2]], movie.values[:, [0, 2]] * 2)


def test_what_is_lost_of_whole_numbers_is_zero(movie: xr.DataArray) -> None:
    (made,) = SERIAL.map_blocks(
        partial(fail_on, 4, ValueError("no")), movie,
        [output("counts", movie.dims, movie, np.uint32)], split={"z": 1}, isolate="z",
    )  # fmt: skip

    assert not made.values[:, 0].any()


def test_a_failure_ends_the_call_otherwise_and_says_where(movie: xr.DataArray) -> None:
    with pytest.raises(DataError, match=r"z=1:2 time=0:7: it is blank"):
        SERIAL.map_blocks(
            partial(fail_on, 5, ValueError("it is blank")), movie, same(movie),
            split={"z": 1, "time": None},
        )  # fmt: skip


@pytest.mark.parametrize("error", [TypeError("a bug"), SettingsError("settings"), MemoryError()])
def test_other_errors_are_never_isolated(movie: xr.DataArray, error: Exception) -> None:
    with pytest.raises(type(error)):
        SERIAL.map_blocks(
            partial(fail_on, 5, error), movie, same(movie), split={"z": 1}, isolate="z"
        )


def test_an_error_in_a_thread_stops_the_rest(movie: xr.DataArray) -> None:
    started: list[int] = []

    def fail(block: xr.DataArray) -> npt.NDArray[Any]:
        started.append(block.sizes["z"])
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        Workspace(workers=1, executor="threads").map_blocks(
            fail, movie, same(movie), split={"z": 1, "time": 1}
        )

    assert len(started) < 21


def test_progress_is_told_of_every_block(movie: xr.DataArray) -> None:
    told: list[tuple[str, int, int]] = []
    workspace = Workspace(executor="serial", progress=lambda *said: told.append(said))

    workspace.map_blocks(double, movie, same(movie), split={"time": 3})

    assert told == [("doubled", done, 3) for done in range(4)]


def test_any_executor_will_do(movie: xr.DataArray) -> None:
    with ThreadPoolExecutor(2) as pool:
        (made,) = Workspace(executor=pool).map_blocks(double, movie, same(movie), split={"z": 1})
        np.testing.assert_array_equal(made.values, movie.values * 2)
        assert pool.submit(int).result() == 0  # it is still open


def test_no_more_blocks_are_in_flight_than_twice_the_workers(movie: xr.DataArray) -> None:
    class Counting(ThreadPoolExecutor):
        waiting = most = 0

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            future = super().submit(fn, *args, **kwargs)
            self.waiting = sum(not f.done() for f in [*self.futures, future])
            self.futures.append(future)
            self.most = max(self.most, self.waiting)
            return future

        futures: list[Any] = []  # noqa: RUF012  (of one test)

    with Counting(2) as pool:
        Workspace(workers=2, executor=pool).map_blocks(
            double, movie, same(movie), split={"time": 1, "z": 1}
        )

    assert len(pool.futures) == 21
    assert pool.most <= 4


def kill(block: xr.DataArray) -> npt.NDArray[Any]:
    os._exit(9 if block.sizes["z"] else 0)


def test_a_dead_worker_is_a_sentence_and_no_hang(movie: xr.DataArray) -> None:
    workspace = Workspace(workers=1, executor="processes")

    with pytest.raises(ResourceError, match=r"worker process died.*--workers 1") as caught:
        workspace.map_blocks(kill, movie, same(movie), split={"z": 1})

    assert caught.value.code == "E_WORKER"
    assert caught.value.exit_code == 4


def test_workers_and_memory_have_sensible_defaults() -> None:
    assert 1 <= processors() <= (os.cpu_count() or 1)
    assert Workspace().n_workers == processors()
    assert Workspace(workers=3).n_workers == 3
    assert Workspace(workers=3, executor="serial").n_workers == 1
    assert Workspace(memory_mb=5).budget_mb == 5
    assert Workspace().budget_mb > 1


def test_processors_are_counted_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(workspace_module.os, "sched_getaffinity", raising=False)

    assert processors() == os.cpu_count()


def test_the_source_is_read_block_by_block() -> None:
    class Watched:
        shape, dtype = (10, 4, 4), np.dtype(np.uint16)
        largest = 0

        def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
            part = np.zeros(self.shape, self.dtype)[key]
            self.largest = max(self.largest, part.size)
            return part

    from clgkit.data import volume

    pixels = Watched()
    source = volume(pixels, voxel_um=(1, 1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SERIAL.map_blocks(
            double, source, [output("doubled", ("z", "y", "x"), source)], split={"z": 2}
        )

    assert pixels.largest == 2 * 4 * 4


def test_a_device_that_is_not_known_is_refused_in_words() -> None:
    for device in ("gpu", "cuda:x", "CPU"):
        with pytest.raises(SettingsError, match=f"The device '{device}' is not known; wanted is"):
            Workspace(device=device)


def test_a_device_without_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(MissingDependency, match=re.escape("pip install 'clgkit[deep]'")):
        Workspace(device="cuda")


def test_a_device_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(ResourceError, match="torch finds 1 such devices") as caught:
        Workspace(device="cuda:1")

    assert caught.value.code == "E_DEVICE"
    assert Workspace(device="cuda:0").device == "cuda:0"
