"""What the server of forked processes imports once, so that a kill does not hit imports only."""

from clgkit.cli import console, run
from clgkit.pipeline import runner, settings
from clgkit.stages import STAGES, function_of

LOADED = (console, run, runner, settings, *map(function_of, STAGES))
