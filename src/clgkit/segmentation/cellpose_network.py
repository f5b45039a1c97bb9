"""A Cellpose 2 or 3 network: complete weights that can be run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from clgkit.segmentation.cellpose_state import (
    DEFAULT_DIAMETER_PX,
    DIAMETERS,
    CellposeLayout,
    State,
    check_state,
    layout_of,
)

if TYPE_CHECKING:
    from clgkit.segmentation.cellpose_net import CellposeNet

__all__ = ["CellposeNetwork"]

Float32: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CellposeNetwork:
    """A Cellpose network, complete and of a known layout.

    Parameters
    ----------
    state
        Name → array, with exactly the keys of :func:`wanted_shapes`; missing diameters are 30.

    Raises
    ------
    ValueError
        If a tensor is missing, foreign, of another shape or not finite.

    Notes
    -----
    It travels between processes as arrays; each makes a module of its own.
    """

    state: State

    def __post_init__(self) -> None:
        thirty = np.full(1, DEFAULT_DIAMETER_PX, np.float32)
        complete = {**dict.fromkeys(DIAMETERS, thirty), **self.state}
        check_state(complete)
        object.__setattr__(self, "state", complete)

    @cached_property
    def layout(self) -> CellposeLayout:
        """Widths and channels."""
        return layout_of(self.state)

    @property
    def diam_mean_px(self) -> float:
        """The diameter that sections are brought to before the network sees them."""
        return float(self.state["diam_mean"][0])

    @property
    def diam_labels_px(self) -> float:
        """The mean diameter of the sections it was trained on."""
        return float(self.state["diam_labels"][0])

    @cached_property
    def modules(self) -> dict[str, CellposeNet]:
        """Device → the network in torch, made when first run."""
        return {}

    def __getstate__(self) -> dict[str, State]:
        return {"state": self.state}

    def run(self, tiles: Float32, *, device: str = "cpu") -> tuple[Float32, Float32]:
        """Return flows with log-odds (n, 3, H, W) and style (n, widest) of tiles.

        Parameters
        ----------
        tiles : (n, channels, H, W)
            Normalized; H and W are multiples of 8.
        device
            As torch names it.

        Raises
        ------
        ImportError
            If torch is not installed.
        """
        # torch is optional
        from clgkit.segmentation import cellpose_net  # noqa: PLC0415

        if device not in self.modules:
            self.modules[device] = cellpose_net.build(self.state, self.layout).to(device)
        return cellpose_net.forward(self.modules[device], tiles, device)
