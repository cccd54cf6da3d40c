"""The entry point of `tandem`: every failure becomes a sentence and exit code 1."""

import sys
import traceback
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from cli import db, tokens, up, users
from cli.console import CommandError, say, say_what_is_logged
from local.errors import LocalError
from shared.host.data_lock import DataInUseError
from shared.settings import SettingsError

SENTENCES = (CommandError, SettingsError, LocalError, DataInUseError)


class Commands(TyperGroup):
    """Turns exceptions into sentences. A traceback, which may show a secret, is never printed."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command; it ends in SystemExit."""
        say_what_is_logged()
        try:
            return super().main(*arguments, **options)
        except SENTENCES as error:
            say(str(error))
        except OSError as error:
            say(f"{error.filename or 'The system'}: {error.strerror or error}.")
        except Exception as error:
            say(_place(error))
        sys.exit(1)


def _place(error: Exception) -> str:
    """What to report of a fault that nobody foresaw; its own text may hold anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"An unforeseen fault ended the command: {type(error).__name__} in {place}."


app = typer.Typer(
    cls=Commands,
    help="Keeps AI agents and their tasks in PostgreSQL, and serves them over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("token")(tokens.token)
app.add_typer(users.app, name="users")
app.add_typer(db.app, name="db")
