"""Adopts a database of agent_com, after the user has confirmed what will be done."""

from cli import doctor
from cli.console import CommandError, confirm, say
from cli.progress import progress_shown
from migrations import run
from migrations.agent_com.examination import Examination
from migrations.doctor.diagnosis import Diagnosis, State, Verdict
from migrations.transaction import MigrationError

# Lines of each finding: more than the doctor's, because this is the last chance to read them.
_SHOWN = 20


def adopt(url: str, *, yes: bool) -> None:
    """Adopt and upgrade the database, after a list of what that does to its rows.

    `yes` skips the question. Raises CommandError, with nothing changed, if the adoption fails, is
    blocked or is not confirmed.
    """
    diagnosis = doctor.examine(url)
    if diagnosis.state is not State.AGENT_COM:
        raise CommandError("This is not a database of agent_com. Nothing was changed.")
    said, verdict = doctor.as_text(diagnosis, shown=_SHOWN).rsplit("\n", 1)
    say(said)
    if diagnosis.verdict is Verdict.BLOCKED:
        raise CommandError(verdict)
    if not yes:
        confirm("Go on?", "Add --yes to accept this.")
    _adopt(url, diagnosis)


def _adopt(url: str, listed: Diagnosis) -> None:
    def require_unchanged(now: Examination) -> None:
        # No lock is held while the question is open, so everything is counted again.
        if now.findings != listed.findings[-len(now.findings) :]:
            raise CommandError(
                "Nothing was changed, because the rows are no longer as listed: stop agent_com, or "
                "try again."
            )

    try:
        with progress_shown():
            run.adopt_from_agent_com(url, require_unchanged)
    except MigrationError as error:
        raise CommandError(str(error)) from None
