"""Print the tables of the network's card: ``python -m benchmarks._nuclei_tables TABLE``.

TABLE is ``real``, ``shifts`` or ``nothing``.  Three ways to nuclei, four columns: the shipped
network, the classical method, and a narrow Cellpose network of the same simulated stacks (see
`_sections`), its sections joined by our chains or by Cellpose's own rule.

Or it is ``failures``: where the network does badly, what else it could be told.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks import _sections
from benchmarks import segmentation as stacks
from clgkit.segmentation import Score, score_labels

HARD = ("plantseg 0", "plantseg 1", "gonuclear 1135")
TOLD = ("network", "probability 0.3", "best of 6 diameters and 3 peaks", "classical")
METHODS = ("network", "classical", "Cellpose net, chains", "Cellpose net, its stitching")


def labels_of(case: stacks.Case) -> list[npt.NDArray[np.uint32]]:
    """Return what each of the methods finds."""
    sections = _sections.by_sections(
        case.image, voxel_um=case.voxel_um, diameter_um=case.diameter_um
    )
    return [stacks.by_network(case), stacks.by_classical(case), *sections]


def scores_of(case: stacks.Case, *, border: Literal["keep", "ignore"] = "keep") -> list[Score]:
    """Return the score of each of the methods."""
    truth = np.zeros(case.image.shape, np.uint32) if case.truth is None else case.truth
    return [score_labels(truth, found, border=border) for found in labels_of(case)]


def cell(score: Score) -> str:
    """Return AP, F1 and the error of the count."""
    return f"{score.ap:.3f} / {score.f1:.2f} / {100 * score.count_error:+.0f} %"


def real_rows() -> Iterator[list[str]]:
    """Yield a row per published volume."""
    for name in stacks.REAL:
        case = stacks.real(name, "full")
        if case is None:
            yield [name, *["not at hand"] * len(METHODS)]
        elif case.truth is None:
            found = labels_of(case)
            yield [f"{name} (no labels)"] + [f"{x.max()}; {(x > 0).mean():.0%}" for x in found]
        else:
            scores = scores_of(case)
            yield [f"{name} ({scores[0].n_truth})", *map(cell, scores)]


def shift_rows() -> Iterator[list[str]]:
    """Yield a row per change of the dense stack."""
    case = stacks.dense("full")
    yield ["dense stack", *map(cell, scores_of(case))]
    yield ["dense stack, nuclei that no face cuts", *map(cell, scores_of(case, border="ignore"))]
    for name in stacks.SHIFTS:
        yield [name, *map(cell, scores_of(stacks.shifted(name, "full")))]


def nothing_rows() -> Iterator[list[str]]:
    """Yield a row per stack without nuclei, and one with few."""
    changes = {
        "empty noise": {"background_sd": 0.0, "gain_sd": 0.0},
        "blotches of 1.5 diameters": {"background": 0.3, "background_sd": 0.5},
        "blotches of 1.0 diameter": {
            "background": 0.3, "background_sd": 0.5, "blotch_share": 1.0,
        },
        "blotches of 0.7 diameters": {
            "background": 0.3, "background_sd": 0.5, "blotch_share": 0.7,
        },
        "blotches of 0.66 diameters": {
            "background": 0.3, "background_sd": 0.5, "blotch_share": 0.66,
        },
        "blotches of 0.7 diameters, bright": {
            "background": 0.4, "background_sd": 0.7, "blotch_share": 0.7,
        },
    }  # fmt: skip
    for name, change in changes.items():
        recipe = replace(stacks.DENSE, filling=0.0, **change)  # type: ignore[arg-type]
        case = stacks.simulated(recipe, "full", seed=5)
        million = case.image.size / 1e6
        yield [name, *(f"{found.max() / million:.1f}" for found in labels_of(case))]
    sparse = stacks.simulated(replace(stacks.DENSE, filling=stacks.SPARSE), "full", seed=5)
    yield [
        f"{np.unique(sparse.truth).size - 1} sparse nuclei: AP",
        *(f"{score.ap:.3f}" for score in scores_of(sparse)),
    ]


def matched(case: stacks.Case, found: npt.NDArray[np.uint32]) -> str:
    """Return how many labels are matched at two overlaps, of how many objects."""
    truth = np.zeros(case.image.shape, np.uint32) if case.truth is None else case.truth
    loose, half = (score_labels(truth, found, iou=iou) for iou in (0.4, 0.5))
    return f"{loose.true_positives} / {half.true_positives}; {half.n_predicted} ({half.ap:.2f})"


def failure_rows() -> Iterator[list[str]]:
    """Yield a row per published volume that is hard; the best diameter knows the labels."""
    for name in HARD:
        case = stacks.real(name, "full")
        if case is None or case.truth is None:
            yield [name, *["not at hand"] * len(TOLD)]
            continue
        stretch = np.array(case.diameter_um) / case.diameter_um[1]
        told = [
            stacks.by_network(
                case._replace(diameter_um=tuple(float(d) for d in stretch * px * case.voxel_um[1])),
                peak=peak,
            )
            for px in (16, 20, 24, 28, 32, 38)
            for peak in (0.45, 0.35, 0.25)
        ]
        best = max(told, key=lambda labels: score_labels(case.truth, labels).ap)
        looks = [
            stacks.by_network(case), stacks.by_network(case, threshold=0.3), best,
            stacks.by_classical(case),
        ]  # fmt: skip
        n_truth = np.unique(case.truth).size - 1
        yield [f"{name} ({n_truth})", *(matched(case, labels) for labels in looks)]


TABLES: dict[str, Callable[[], Iterator[list[str]]]] = {
    "real": real_rows, "shifts": shift_rows, "nothing": nothing_rows, "failures": failure_rows,
}  # fmt: skip


def main() -> None:
    """Print the table that the argument names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._nuclei_tables")
    parser.add_argument("table", choices=TABLES)
    table = parser.parse_args().table
    columns = TOLD if table == "failures" else METHODS
    print("| | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for row in TABLES[table]():
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
