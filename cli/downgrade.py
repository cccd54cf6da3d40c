"""Going back to an older schema, once somebody has agreed to what that one cannot hold."""

import sys
from functools import partial

import typer

from cli.console import CommandError, say
from cli.progress import progress_shown
from migrations import run
from migrations.losses import Loss


def downgrade(url: str, revision: str, *, yes: bool) -> None:
    """Take the database back to `revision`, after a list of what is lost by it.

    `yes` agrees beforehand. Raises CommandError where it cannot be done or nobody agrees; then
    nothing was changed.
    """
    try:
        if yes:
            with progress_shown():
                run.downgrade(url, revision)
        else:
            _downgrade_once_agreed(url, revision)
    except run.MigrationError as error:
        raise CommandError(str(error)) from None


def _downgrade_once_agreed(url: str, revision: str) -> None:
    # Nobody who uses the database waits while a person reads: it is counted again afterwards.
    listed = run.losses(url, revision)
    for loss in listed:
        say(str(loss))
    if listed:
        _ask()
    with progress_shown():
        run.downgrade(url, revision, partial(_require_the_same, listed))


def _ask() -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError("Nothing was changed: say --yes to lose that.")
    if not typer.confirm("Go on?", err=True):
        raise CommandError("Nothing was changed.")


def _require_the_same(listed: list[Loss], now: list[Loss]) -> None:
    if now != listed:
        raise CommandError(
            "Meanwhile something else would be lost than was listed, so nothing was changed: "
            "stop the services, or try again."
        )
