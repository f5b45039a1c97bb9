"""Join sections with Cellpose 3's ``stitch3D``, in its own environment.

``python stitch.py input.npz output.npz``.  The input holds `stack_0`, `stack_1`, ... (Z, Y, X)
uint32, sections slice by slice, and `repeat`.  The output holds `joined_0`, ..., the CPU seconds
`cpu_s` (stacks, repeat), and `version`.
"""

# ruff: noqa: ANN201, PLC0415  (types and imports are another program's)

import sys
import time
from importlib import metadata

import numpy as np


def main():
    """Run the program on one file."""
    source, target = sys.argv[1:]
    from cellpose.utils import stitch3D

    given = np.load(source)
    stacks = [given[name] for name in given.files if name.startswith("stack_")]
    made, cpu_s = {}, []
    stitch3D(np.ones((2, 4, 4), stacks[0].dtype))  # compiles
    for number, stack in enumerate(stacks):
        taken = []
        for _ in range(int(given["repeat"])):
            copy = stack.copy()  # it writes into what it is given
            start = time.process_time()
            made[f"joined_{number}"] = stitch3D(copy, stitch_threshold=0.25)
            taken.append(time.process_time() - start)
        cpu_s.append(taken)
    np.savez(target, cpu_s=cpu_s, version=metadata.version("cellpose"), **made)


if __name__ == "__main__":
    main()
