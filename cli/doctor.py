"""The output of `tandem db doctor`: tables for people, or a JSON document for programs."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson

from cli.console import CommandError
from cli.table import table
from migrations.adopt.difference import Difference
from migrations.doctor import examine as doctor
from migrations.doctor.diagnosis import Diagnosis, State, Verdict
from migrations.history import NEWEST
from migrations.inspect.findings import Finding
from migrations.transaction import MigrationError

# Rows of each finding in the tables; the JSON document has up to 20.
_SHOWN = 2
_WIDTH_OF_A_FILE = 200

STATES = {
    State.EMPTY: "The database has no tables of Tandem.",
    State.UNVERSIONED: "The database has tables that another program created.",
    State.AGENT_COM: (
        "This is a database of agent_com, which can be adopted: its tables move to the schema\n"
        "agent_com_before, from where `tandem db downgrade agent_com` brings them back, and their\n"
        "rows are copied, so the database needs as much space again."
    ),
    State.OLDER: "The database is at {revision}; the newest revision is {newest}.",
    State.NEWEST: "The database is at {revision}, the newest revision.",
    State.FOREIGN: "The database belongs to another program.",
}

VERDICTS = {
    Verdict.CLEAN: "No problems were found.",
    Verdict.UPGRADE: "Run `tandem db upgrade`; nothing blocks it.",
    Verdict.BLOCKED: "Lines marked with ! require manual action. Nothing was changed.",
}


def examine(url: str) -> Diagnosis:
    """Examine the database. Raises CommandError if that is not possible."""
    try:
        return doctor.examine(url)
    except MigrationError as error:
        raise CommandError(str(error)) from None


def as_json(diagnosis: Diagnosis) -> str:
    """The document that docs/migrations.md describes."""
    return orjson.dumps(_document(diagnosis), option=orjson.OPT_INDENT_2).decode()


def as_text(diagnosis: Diagnosis, width: int | None = None, shown: int = _SHOWN) -> str:
    """What was found, without findings of no rows.

    `width` is in characters; None: the width of the terminal. Up to `shown` rows of each finding.
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH_OF_A_FILE
    return "\n".join(_lines(diagnosis, width, shown))


def _document(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "state": diagnosis.state.value,
        "revision": diagnosis.revision,
        "newest": NEWEST,
        "verdict": diagnosis.verdict.name.lower(),
        "differences": [asdict(difference) for difference in diagnosis.differences],
        "findings": {
            finding.kind.code: {
                "what": finding.kind.what,
                "blocks": finding.kind.blocks,
                "count": finding.count,
                "first": finding.first,
            }
            for finding in diagnosis.findings
        },
    }


def _lines(diagnosis: Diagnosis, width: int, shown: int) -> Iterator[str]:
    yield STATES[diagnosis.state].format(revision=diagnosis.revision, newest=NEWEST)
    if differences := [_difference(difference) for difference in diagnosis.differences]:
        yield ""
        yield from table(("", "Where", "Expected", "Found"), differences, width)
        yield ""
    if findings := [_finding(finding, shown) for finding in diagnosis.findings if finding.count]:
        yield ""
        yield from table(("", "Rows", "What, and the first rows"), findings, width)
        yield ""
    yield _verdict(diagnosis)


def _verdict(diagnosis: Diagnosis) -> str:
    said = VERDICTS[diagnosis.verdict]
    if diagnosis.state is State.AGENT_COM:
        return said.replace("db upgrade", "db upgrade --adopt agent_com")
    return said


def _difference(difference: Difference) -> tuple[str, ...]:
    mark = "" if difference.repair else "!"
    return mark, difference.place, difference.expected, difference.found


def _finding(finding: Finding, shown: int) -> tuple[str, ...]:
    mark = "!" if finding.kind.blocks else ""
    first = [f"  {name}" for name in finding.first[:shown]]
    return mark, str(finding.count), "\n".join([finding.kind.what, *first])
