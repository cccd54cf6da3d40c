"""What `tandem db doctor` prints: tables for people, or one JSON document for programs."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import orjson
from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.console import CommandError
from migrations.differences import Difference
from migrations.doctor import Report, State, Verdict, look
from migrations.findings import Finding
from migrations.history import REVISIONS
from migrations.run import MigrationError

# People want to see what it is about; programs get all that was found.
_SHOWN = 2
_WIDTH_OF_A_FILE = 200

STATES = {
    State.EMPTY: "The database has no tables of Tandem.",
    State.UNVERSIONED: "The database has tables that something else made.",
    State.OLDER: "The database is at {revision}; the newest revision is {newest}.",
    State.NEWEST: "The database is at {revision}, the newest revision.",
    State.FOREIGN: "The database belongs to something else.",
}

VERDICTS = {
    Verdict.CLEAN: "Nothing is wrong with it.",
    Verdict.UPGRADE: "`tandem db upgrade` takes care of it; nothing is in its way.",
    Verdict.BLOCKED: "What is marked with ! needs a person. Nothing was changed.",
}


def examine(url: str) -> Report:
    """Look at the database. Raises CommandError where that is not possible."""
    try:
        return look(url)
    except MigrationError as error:
        raise CommandError(str(error)) from None


def as_json(report: Report) -> str:
    """The document that docs/migrations.md describes."""
    return orjson.dumps(_document(report), option=orjson.OPT_INDENT_2).decode()


def as_text(report: Report, width: int | None = None) -> str:
    """What was found, without what was looked for in vain.

    `width` is in characters; None: as wide as the terminal.
    """
    console = Console(width=width or (None if sys.stdout.isatty() else _WIDTH_OF_A_FILE))
    with console.capture() as capture:
        console.print(Group(*_parts(report)))
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))


def _document(report: Report) -> dict[str, Any]:
    return {
        "state": report.state.value,
        "revision": report.revision,
        "newest": REVISIONS[-1],
        "verdict": report.verdict.name.lower(),
        "differences": [asdict(difference) for difference in report.differences],
        "findings": {
            finding.kind.code: {
                "what": finding.kind.what,
                "blocks": finding.kind.blocks,
                "count": finding.count,
                "first": finding.first,
            }
            for finding in report.findings
        },
    }


def _parts(report: Report) -> Iterator[RenderableType]:
    yield Text(STATES[report.state].format(revision=report.revision, newest=REVISIONS[-1]))
    if report.differences:
        yield _table(("", "Where", "Expected", "Found"), map(_difference, report.differences))
    if found := [finding for finding in report.findings if finding.count]:
        yield _table(("", "Rows", "What, and the first of them"), map(_finding, found))
    yield Text(VERDICTS[report.verdict])


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(box=SIMPLE)
    for heading in headings:
        # Names and ids are to be looked up, so they are broken rather than cut off.
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: what was found may look like markup
    return table


def _difference(difference: Difference) -> tuple[str, ...]:
    mark = "" if difference.repair else "!"
    return mark, difference.place, difference.expected, difference.found


def _finding(finding: Finding) -> tuple[str, ...]:
    mark = "!" if finding.kind.blocks else ""
    first = [f"  {name}" for name in finding.first[:_SHOWN]]
    return mark, str(finding.count), "\n".join([finding.kind.what, *first])
