"""Access to the outputs of the original programs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.npyio import NpzFile

FOLDER = Path(__file__).parents[2].parent / "shared" / "golden"


@pytest.fixture
def golden() -> Callable[[str], NpzFile]:
    def load(name: str) -> NpzFile:
        path = FOLDER / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"the golden outputs ({name}.npz) are not at hand in ../shared/golden")
        loaded = np.load(path, allow_pickle=False)
        assert isinstance(loaded, NpzFile)
        return loaded

    return load
