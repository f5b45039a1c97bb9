"""Print the tables of the network's card: ``python -m benchmarks._nuclei_tables TABLE``.

TABLE is ``real``, ``shifts`` or ``nothing``.  Three ways to nuclei, four columns: the shipped
network, the classical method, and a narrow Cellpose network of the same simulated stacks (see
`_sections`), its sections joined by our chains or by Cellpose's own rule.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks import _sections
from benchmarks import segmentation as stacks
from clgkit.segmentation import Score, score_labels

METHODS = ("network", "classical", "Cellpose net, chains", "Cellpose net, its stitching")


def labels_of(case: stacks.Case) -> list[npt.NDArray[np.uint32]]:
    """Return what each of the methods finds."""
    sections = _sections.by_sections(
        case.image, voxel_um=case.voxel_um, diameter_um=case.diameter_um
    )
    return [stacks.by_network(case), stacks.by_classical(case), *sections]


def scores_of(case: stacks.Case) -> list[Score]:
    """Return the score of each of the methods."""
    truth = np.zeros(case.image.shape, np.uint32) if case.truth is None else case.truth
    return [score_labels(truth, found) for found in labels_of(case)]


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
    yield ["dense stack", *map(cell, scores_of(stacks.dense("full")))]
    for name in stacks.SHIFTS:
        yield [name, *map(cell, scores_of(stacks.shifted(name, "full")))]


def nothing_rows() -> Iterator[list[str]]:
    """Yield a row per stack without nuclei, and one with few."""
    changes = {
        "empty noise": {"background_sd": 0.0, "gain_sd": 0.0},
        "blotches of 1.5 diameters": {"background": 0.3, "background_sd": 0.5},
        "blotches of 0.7 diameters, bright": {
            "background": 0.4, "background_sd": 0.7, "blotch_share": 0.7,
        },
    }  # fmt: skip
    for name, change in changes.items():
        recipe = replace(stacks.DENSE, shape_px=(32, 192, 192), filling=0.0, **change)  # type: ignore[arg-type]
        case = stacks.simulated(recipe, "full", seed=5)
        million = case.image.size / 1e6
        yield [name, *(f"{found.max() / million:.0f}" for found in labels_of(case))]
    recipe = replace(stacks.DENSE, filling=0.4 * 60 / 3050)
    sparse = stacks.simulated(recipe, "full", seed=5)
    yield ["60 sparse nuclei: AP", *(f"{score.ap:.3f}" for score in scores_of(sparse))]


TABLES: dict[str, Callable[[], Iterator[list[str]]]] = {
    "real": real_rows, "shifts": shift_rows, "nothing": nothing_rows,
}  # fmt: skip


def main() -> None:
    """Print the table that the argument names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._nuclei_tables")
    parser.add_argument("table", choices=TABLES)
    print("| | " + " | ".join(METHODS) + " |\n" + "|---" * (len(METHODS) + 1) + "|")
    for row in TABLES[parser.parse_args().table]():
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
