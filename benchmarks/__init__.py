"""Figures side by side with the peer they must beat; see :mod:`benchmarks.harness`."""
