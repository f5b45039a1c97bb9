"""Register a movie with another program, in its own environment.

``python register.py suite2p|jnormcorre input.npz output.npz``.  The input holds `movie`
(T, Y, X) int16, `points` (pixels at which the field is wanted, along both axes), `rigid`
(bool), `max_shift_px`, and `reference` (Y, X), which may be empty: then the program makes
its own.  The output holds `field` (T, P, P, 2), where the program reads a pixel of the
corrected frame, relative to it; `cpu_s` of estimating and applying; and `version`.

Settings are those that the program's documentation gives for a field of 512 pixels.
"""

# ruff: noqa: ANN001, ANN201, ANN202, ARG005, PLC0415  (types and imports are another program's)

import sys
import time
from importlib import metadata
from unittest.mock import MagicMock

import numpy as np

STAND_INS = ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional")


def survive_torchvision():
    """Put stand-ins in the place of a torchvision that does not fit the installed torch.

    suite2p imports it by way of Cellpose, which its registration does not use.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # "operator torchvision::nms does not exist"
        for name in STAND_INS:
            sys.modules[f"torchvision{name}"] = MagicMock()


def with_suite2p(movie, points, rigid, max_shift_px, reference):
    """Blocks of 128 px, up to 5 px about the rigid shift."""
    import torch

    survive_torchvision()
    from suite2p.parameters import default_settings
    from suite2p.registration import register

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    settings = default_settings()["registration"]
    settings["maxregshift"] = max_shift_px / min(movie.shape[1:])
    if not reference.size:
        chosen = np.linspace(0, len(movie), 1 + min(len(movie), 400))[:-1].astype(int)
        reference = register.compute_reference(movie[chosen].copy(), settings, device=cpu)
    options = {
        "nonrigid": not rigid,
        "maxregshift": settings["maxregshift"],
        "block_size": tuple(settings["block_size"]),
        "device": cpu,
    }
    reference = reference.astype(np.int16)
    register.register_frames(movie[:4].copy(), reference, **options)
    copy = movie.copy()
    start = time.process_time()
    out = register.register_frames(copy, reference, **options)
    cpu_s = time.process_time() - start
    offsets, blocks = out[3], out[4]
    return suite2p_field(offsets, blocks, points, rigid), cpu_s


def suite2p_field(offsets, blocks, points, rigid):
    """Interpolate the shifts of blocks linearly between their centres, as the program does."""
    from scipy.interpolate import RegularGridInterpolator

    whole = np.stack([np.asarray(offsets[0]), np.asarray(offsets[1])], axis=-1)
    field = np.zeros((len(whole), len(points), len(points), 2)) + whole[:, None, None]
    if rigid:
        return field
    n_y, n_x = blocks[2]
    y = np.array(blocks[0][::n_x]).mean(axis=1).astype(int)
    x = np.array(blocks[1][:n_x]).mean(axis=1).astype(int)
    bent = np.stack([np.asarray(offsets[3]), np.asarray(offsets[4])], axis=-1)
    at = np.meshgrid(np.clip(points, y[0], y[-1]), np.clip(points, x[0], x[-1]), indexing="ij")
    for t, shifts in enumerate(bent):
        between = RegularGridInterpolator((y, x), shifts.reshape(n_y, n_x, 2))
        field[t] += between(np.stack(at, axis=-1))
    return field


def with_jnormcorre(movie, points, rigid, max_shift_px, reference):
    """Strides of 96 px with overlaps of 32, up to 5 px about the rigid shift."""
    import jax
    import jax.numpy as jnp

    jnp.fix = jnp.trunc  # removed from JAX since; the only thing that stops it from running
    from jnormcorre import motion_correction
    from jnormcorre.utils.lazy_array import lazy_data_loader

    class InMemory(lazy_data_loader):
        dtype = property(lambda self: "float32")
        shape = property(lambda self: movie.shape)

        def _compute_at_indices(self, indices):
            return movie[indices].astype(np.float32)

    limits = (int(max_shift_px), int(max_shift_px))
    if not reference.size:
        corrector, _ = motion_correction.MotionCorrect(
            InMemory(), max_shifts=limits, frames_per_split=100
        ).motion_correct()
        reference = np.asarray(corrector.template)
    least = float(movie[:400].min())
    made = motion_correction.frame_corrector(
        reference, limits, (96, 96), (32, 32), 5, min_mov=least
    )

    def register(frames):
        if rigid:
            out = made.rigid_registration_method(
                frames, made.template, made.max_shifts, made.add_to_movie
            )
        else:
            out = made.pw_registration_method(
                frames, made.template, 96, 96, 32, 32, made.max_shifts, 10, 5, made.add_to_movie
            )
        return [np.asarray(part) for part in out]

    batch = min(20, len(movie))
    register(movie[:batch].astype(np.float32))
    start = time.process_time()
    shifts = [
        register(movie[i : i + batch].astype(np.float32))[1] for i in range(0, len(movie), batch)
    ]
    cpu_s = time.process_time() - start
    shifts = -np.concatenate(shifts)
    if rigid:
        return np.zeros((len(movie), len(points), len(points), 2)) + shifts[:, None, None], cpu_s
    n = round(shifts.shape[1] ** 0.5)
    grid = shifts.reshape(len(movie), n, n, 2)
    whole = jax.image.resize(jnp.asarray(grid), (len(movie), *movie.shape[1:], 2), method="cubic")
    return np.asarray(whole)[:, points][:, :, points], cpu_s


def main():
    """Run one program on one file."""
    name, source, target = sys.argv[1:]
    given = np.load(source)
    run = {"suite2p": with_suite2p, "jnormcorre": with_jnormcorre}[name]
    field, cpu_s = run(
        given["movie"],
        given["points"],
        bool(given["rigid"]),
        float(given["max_shift_px"]),
        given["reference"],
    )
    np.savez(target, field=field, cpu_s=cpu_s, version=metadata.version(name))


if __name__ == "__main__":
    main()
