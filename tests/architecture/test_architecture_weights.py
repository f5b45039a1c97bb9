"""Weights that come with the package change results; the version of their stage says so.

The key of a result holds the version of its stage, not the weights.  Other weights under the same
version would leave old results current.
"""

import hashlib
from pathlib import Path

import pytest

from clgkit.stages import STAGES
from tests.architecture.sources import PACKAGE, name_of

SUFFIXES = {".onnx", ".npz", ".npy", ".pt", ".pth", ".safetensors", ".bin"}
NUCLEI = PACKAGE / "segmentation" / "weights" / "nuclei.onnx"
WEIGHTS = {
    NUCLEI: (
        "segment_nuclei",
        {2: "0398d47626970a82c9cc1a7bd26e6965cd6ffae225c90b66a689ba2f3bd9cbab"},
    )
}
"""File → the stage that uses it, and first version of the stage → SHA-256 from then on.

Rows are added and never changed: a version that was there keeps its weights.
"""


def test_every_file_of_weights_belongs_to_a_stage() -> None:
    shipped = {path for path in PACKAGE.rglob("*") if path.suffix in SUFFIXES}

    assert shipped == set(WEIGHTS), "name the stage whose results the file changes"


@pytest.mark.parametrize("path", WEIGHTS, ids=name_of)
def test_other_weights_come_with_another_version_of_the_stage(path: Path) -> None:
    stage, known = WEIGHTS[path]
    version = STAGES[stage].version
    found = hashlib.sha256(path.read_bytes()).hexdigest()

    since = max(number for number in known if number <= version)
    assert known[since] == found, (
        f"{name_of(path)} is not the file that {stage} has used since version {since}: raise the "
        f"version of {stage} in STAGES (it is {version}) and add a row {{{version + 1}: "
        f"{found!r}}} here"
    )
    assert max(known) == since, f"raise the version of {stage} in STAGES to {max(known)}"
