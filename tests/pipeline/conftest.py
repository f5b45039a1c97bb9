"""The tiny fish and the command line, for the tests of runs."""

from tests.pipeline.tiny import clg, expected, finished, fish

__all__ = ["clg", "expected", "finished", "fish"]
