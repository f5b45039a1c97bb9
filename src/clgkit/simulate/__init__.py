"""A simulated fish with known answers: structural stack, movies and the truth behind them.

::

    fish = Fish(preset("demo", seed=1))
    for slices, counts in fish.structure_blocks():
        stack[slices] = counts
    for plane, frames, counts in fish.movie_blocks():
        movies[plane][frames] = counts
    fish.nuclear_block(0, 0, 100)  # the second channel of plane 0
    fish.labels_block(0, 16), fish.shifts_px, fish.fluorescence, fish.cut_table()
"""

from clgkit.simulate.fish import CutTable, Fish
from clgkit.simulate.settings import FishSettings, preset

__all__ = ["CutTable", "Fish", "FishSettings", "preset"]
