"""`tandem config check`: looks at the configuration without starting anything."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.console import CommandError
from cli.database import NotMigratedError, run
from cli.table import table
from shared.auth.issuers import key_problems
from shared.auth.key_sources import NO_KEY
from shared.database import queries
from shared.service import database_url, revision_problem
from shared.settings import Settings, SettingsError, Variable, read_settings, setting_variables
from shared.settings.variables import PREFIX
from shared.trusted_issuers import TrustedIssuer

SHOWN_CHARACTERS = 60
HEADINGS = ("setting", "value", "from")
GIVEN = "the environment"


def check(width: int, *, for_up: bool) -> tuple[str, list[str]]:
    """A table of all settings, and what is wrong with them, in sentences; no secret is in either.

    If the services are started by `tandem up`, which makes a key and a database, none is missed.
    """
    settings, found = read_settings()
    problems = [*found.problems]
    if not _has_problem(problems, "JWT_"):
        problems += [each for each in key_problems(settings) if not (for_up and each == NO_KEY)]
    if not _has_problem(problems, "DATABASE_"):
        problems += _database_problems(settings, for_up=for_up)
    rows = [_row(each, settings, found.sources, problems) for each in setting_variables()]
    return "\n".join(table(HEADINGS, rows, width)), problems


def _has_problem(problems: list[str], begin: str) -> bool:
    return any(problem.startswith(PREFIX + begin) for problem in problems)


def _row(
    variable: Variable, settings: Settings, sources: Mapping[str, str], problems: Sequence[str]
) -> tuple[str, str, str]:
    names = (f"{variable.name}:", f"{variable.file_name}:")
    if any(problem.startswith(names) for problem in problems):
        return variable.name, "(refused)", ""
    source = sources.get(variable.field, "default")
    shown = _shown(variable, settings)
    return variable.name, shown, GIVEN if source == variable.name else source


def _shown(variable: Variable, settings: Settings) -> str:
    value = getattr(settings, variable.field)
    if value is None:
        return "(not set)"
    if variable.is_secret:
        return "********"
    if isinstance(value, tuple):
        value = ", ".join(each.issuer for each in value if isinstance(each, TrustedIssuer))
    line, *more = str(value).splitlines() or [""]
    return f"{line[:SHOWN_CHARACTERS]}…" if more or len(line) > SHOWN_CHARACTERS else line


def _database_problems(settings: Settings, *, for_up: bool) -> Iterator[str]:
    """What speaks against each database that is named; services also need the right revision."""
    for variable, url in (
        ("TANDEM_DATABASE_OWNER_URL", settings.database_owner_url),
        ("TANDEM_DATABASE_ADMIN_URL", settings.database_admin_url),
    ):
        if url:
            yield from _refusal(variable, url.get_secret_value())
    if settings.database_url or not for_up:
        yield from _services_database(settings, any_revision=for_up)


def _services_database(settings: Settings, *, any_revision: bool) -> Iterator[str]:
    try:
        url = database_url(settings)
    except SettingsError as error:
        yield str(error)
        return
    text = url if isinstance(url, str) else url()
    refusals = [*_refusal("TANDEM_DATABASE_URL", text)]
    yield from refusals
    if not (refusals or any_revision):
        yield from _revision(text)


def _refusal(variable: str, url: str) -> Iterator[str]:
    try:
        run(url, lambda connection: connection.execute("SELECT 1"))
    except CommandError as error:
        said = str(error)
        yield said if said.startswith(variable) else f"{variable}: {said}"


def _revision(url: str) -> Iterator[str]:
    revisions: Any = queries.REVISIONS.rows
    try:
        rows = run(url, revisions)
    except CommandError as error:
        yield str(error)
        return
    found = ", ".join(row["version_num"] for row in rows)
    if problem := revision_problem(found) if found else str(NotMigratedError()):
        yield problem
