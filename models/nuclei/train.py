# ruff: noqa: INP001, T201  (a script: no package, and it says how far it is)
"""Train the shipped network of nuclei from a seed: simulate, train, write the ONNX file.

    python models/nuclei/train.py --out src/clgkit/segmentation/weights/nuclei.onnx

It can be stopped at any time; the same command continues it.
"""

import argparse
import os
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # on shared processors two threads are slower than one

import torch  # noqa: E402  (reads the number of threads when it is loaded)

from clgkit import fsio  # noqa: E402
from clgkit.segmentation.training import Trainer  # noqa: E402
from clgkit.segmentation.training_samples import LabelledStack, label_stack  # noqa: E402
from clgkit.simulate.curriculum import draw_recipe, make_stack  # noqa: E402

HELD_OUT = 100_000  # stacks from this number on are never learnt from
SEED, STEPS, VOLUMES, N_HELD_OUT, EVERY = 20, 4000, 160, 12, 100
"""The recipe of the shipped network; reports come after every 100 steps."""


def stacks(seed: int, first: int, n: int) -> list[LabelledStack]:
    """Simulate stacks of the curriculum."""
    made = []
    for number in range(first, first + n):
        recipe = draw_recipe(seed=seed, number=number)
        stack = make_stack(recipe, seed=seed, number=number)
        made.append(
            label_stack(
                stack.image,
                stack.labels,
                voxel_um=recipe.voxel_um,
                diameter_um=recipe.diameter_um,
            )
        )
    return made


def main() -> None:
    """Run the training that the arguments describe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, default=None, help="default: beside the file")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--volumes", type=int, default=VOLUMES)
    parser.add_argument("--held-out", type=int, default=N_HELD_OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = options.checkpoint or options.out.with_suffix(".checkpoint")
    trainer = Trainer(
        stacks(options.seed, 0, options.volumes),
        held_out=stacks(options.seed, HELD_OUT, options.held_out),
        seed=options.seed,
        n_steps=options.steps,
    )
    print(f"{options.volumes} volumes after {time.process_time():.0f} CPU s", flush=True)
    if checkpoint.exists():
        trainer.restore(checkpoint.read_bytes())
    first = trainer.step
    for progress in trainer.run(every=EVERY):
        fsio.write_bytes(checkpoint, trainer.state())
        print(
            f"step {progress.step}/{progress.n_steps}  loss {progress.loss:.4f}  "
            f"held out {progress.held_out:.4f}  {progress.left_s / 60:.1f} min left  "
            f"{time.process_time():.0f} CPU s",
            flush=True,
        )
    weights = trainer.network(
        seed=str(options.seed), steps=str(options.steps), volumes=str(options.volumes)
    ).weights
    fsio.write_bytes(options.out, weights)
    minutes = time.process_time() / 60
    since = f"since step {first}" if first else "from the seed, simulation included"
    print(f"{options.out}: {len(weights)} bytes, {minutes:.1f} CPU min {since}")


if __name__ == "__main__":
    main()
