"""``python -m clgkit`` is ``clg``."""

from clgkit.cli import main

main()
