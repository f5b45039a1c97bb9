"""What all tests share: one thread per process, hypothesis profiles, the shared data."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before numpy is imported: two spinning pools on two cores measure each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "agg")

SHARED = Path(__file__).parents[2] / "shared"

settings.register_profile(
    "local", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data and goldens beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("the shared data (../shared) are not at hand")
    return SHARED
