"""The entry point of `tandem`: every failure becomes a sentence and exit code 1."""

import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from cli.console import CommandError, say, say_what_is_logged
from local.errors import LocalError
from shared.host.data_lock import DataInUseError
from shared.host.embedded_postgres import EmbeddedPostgresError
from shared.host.private_files import UnsafeFileError
from shared.settings import SettingsError

NAMES = (
    *("up", "token", "users", "events", "tasks", "agents", "db", "backup", "restore"),
    *("config", "health"),
)
SENTENCES = (
    CommandError,
    SettingsError,
    LocalError,
    EmbeddedPostgresError,
    DataInUseError,
    UnsafeFileError,
)


class Commands(click.Group):
    """Imports a command when it is needed, and turns exceptions into sentences.

    A traceback, which may show a secret, is never printed.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in NAMES:
            return None
        command: click.Command = import_module(f"cli.commands.{cmd_name}").command
        return command

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
    """A report of an unexpected error without its text, which may contain anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"An unexpected error ended the command: {type(error).__name__} in {place}."


app = Commands(
    "tandem", help="Keeps AI agents and their tasks in PostgreSQL, and serves them over gRPC."
)
