"""CPU time of training the shipped network from its seed, scaled from a part of the recipe.

Functions and counts are those of ``models/nuclei/train.py``.  Some stacks are simulated and a few
steps made with them; the times are multiplied by what the recipe asks for.  The script itself
prints the CPU minutes of a whole training, which are no part of this benchmark::

    python models/nuclei/train.py --out /tmp/nuclei.onnx
"""

import importlib.util
import os
import time
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from benchmarks.harness import Figure, Size

SCRIPT = Path(__file__).parents[1] / "models" / "nuclei" / "train.py"
N_STACKS = 16  # numbers 0, 10, 20, ... of the recipe's 160
N_STEPS = 40
WARM_UP = 5


class Cost(NamedTuple):
    """CPU seconds of the parts of a training."""

    stack: float
    """Simulate and label a stack."""
    step: float
    look: float
    """The loss on what is held out, and the state to continue from."""


@cache
def script() -> ModuleType:
    """Return the training script; it may not choose threads for this process."""
    before = dict(os.environ)
    spec = importlib.util.spec_from_file_location("train_nuclei_script", SCRIPT)
    if spec is None or spec.loader is None:
        raise ImportError(f"{SCRIPT} cannot be read", name="models/nuclei/train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in set(os.environ) - set(before):
        del os.environ[name]
    return module


@cache
def cost(size: Size) -> Cost:
    """Measure each part once; kernels are compiled before."""
    from clgkit.segmentation.fine_tuning import use_one_thread  # noqa: PLC0415  (torch is optional)
    from clgkit.segmentation.training import held_out_loss  # noqa: PLC0415  (torch is optional)

    use_one_thread()
    train = script()
    n_stacks, n_steps = (N_STACKS, N_STEPS) if size == "full" else (1, 1)
    apart = train.VOLUMES // N_STACKS
    train.stacks(train.SEED, train.VOLUMES, 1)
    start = time.process_time()
    stacks = [train.stacks(train.SEED, k * apart, 1)[0] for k in range(n_stacks)]
    made = time.process_time()
    trainer = train.Trainer(stacks, seed=train.SEED, n_steps=train.STEPS)
    list(trainer.run(until=WARM_UP if size == "full" else 1))
    began = time.process_time()
    list(trainer.run(until=trainer.step + n_steps))
    stepped = time.process_time()
    held_out_loss(trainer.net, stacks)
    trainer.state()
    looked = time.process_time()
    return Cost((made - start) / n_stacks, (stepped - began) / n_steps, looked - stepped)


def whole_s(part: Cost) -> float:
    """Return the CPU seconds of the recipe."""
    train = script()
    simulated = part.stack * (train.VOLUMES + train.N_HELD_OUT)
    return float(simulated + part.step * train.STEPS + part.look * train.STEPS / train.EVERY)


def figure_default_network(size: Size) -> Figure:
    """From the seed to the shipped network: simulation, steps and looks, scaled."""
    part, train = cost(size), script()
    n_stacks, n_steps = (N_STACKS, N_STEPS) if size == "full" else (1, 1)
    label = (
        f"default network from its seed, scaled from {n_stacks} of "
        f"{train.VOLUMES + train.N_HELD_OUT} stacks and {n_steps} of {train.STEPS} steps"
    )
    return Figure(label, "CPU min", whole_s(part) / 60, target=60.0)
