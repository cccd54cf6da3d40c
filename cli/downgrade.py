"""Downgrades the schema, after the user has confirmed the loss of data."""

from functools import partial

from cli.console import CommandError, confirm, say
from cli.progress import progress_shown
from migrations import run
from migrations.agent_com.tables import AGENT_COM
from migrations.data_loss import DataLoss
from migrations.transaction import MigrationError


def downgrade(url: str, revision: str, *, yes: bool) -> None:
    """Downgrade to `revision`, after a list of the data that will be lost.

    `yes` skips the question. Raises CommandError, with nothing changed, if the downgrade fails or
    is not confirmed.
    """
    try:
        if yes:
            with progress_shown():
                run.downgrade(url, revision)
        else:
            _downgrade_if_confirmed(url, revision)
    except MigrationError as error:
        raise CommandError(str(error)) from None


def _downgrade_if_confirmed(url: str, revision: str) -> None:
    # No lock is held while the question is open, so the loss is counted again afterwards.
    listed = run.data_loss(url, revision)
    if revision == AGENT_COM:
        say("The tables of agent_com come back as they were. Of Tandem's:")
    for loss in listed:
        say(str(loss))
    if listed:
        confirm("Go on?", "Add --yes to accept the loss.")
    with progress_shown():
        run.downgrade(url, revision, partial(_require_unchanged, listed))


def _require_unchanged(listed: list[DataLoss], now: list[DataLoss]) -> None:
    if now != listed:
        raise CommandError(
            "Nothing was changed, because the data to be lost is no longer as listed: stop the "
            "services, or try again."
        )
