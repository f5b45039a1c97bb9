"""The command line as the architecture tests see it."""

import click

from clgkit.cli.entry import app, load


def commands() -> list[tuple[str, click.Command]]:
    """Return the words after ``clg`` and the whole command, of every command."""
    found: list[tuple[str, click.Command]] = []
    for name in app.list_commands(click.Context(app)):
        command = load(name)
        if isinstance(command, click.Group):
            found += [(f"{name} {part}", inner) for part, inner in command.commands.items()]
        else:
            found.append((name, command))
    return found
