"""``clg settings``: every setting with its default and meaning."""

from __future__ import annotations

import json

import click

EPILOG = """\b
Examples:
    clg settings
    clg settings correct_motion
    clg settings --schema > run.schema.json
"""


@click.command("settings", epilog=EPILOG)
@click.argument("section", required=False)
@click.option("--schema", is_flag=True, help="Print the JSON schema, for editors.")
def command(section: str | None, *, schema: bool) -> None:
    """Print every setting, or those of one SECTION, as a commented settings file."""
    from clgkit.errors import SettingsError
    from clgkit.params import closest
    from clgkit.pipeline.settings import as_toml, parse, settings_model
    from clgkit.stages import STAGES

    if schema:
        click.echo(json.dumps(settings_model().model_json_schema(), indent=1))
        return
    defaults = parse({}, "the defaults")
    if section is None:
        click.echo(as_toml(defaults, [name for name in STAGES if STAGES[name].optional]))
        return
    name = section.replace("-", "_")
    known = list(settings_model().model_fields)
    if name not in known:
        close = closest(name, known)
        raise SettingsError(
            f"There is no section {section!r}."
            + (f" Did you mean {close}?" if close else f" There are: {', '.join(known)}.")
        )
    blocks = as_toml(defaults).split("\n\n")
    click.echo(next(block for block in blocks if f"[{name}]" in block.splitlines()))
