"""Lists the lines of the services' logs as Markdown tables, for docs/logs.md."""

from collections.abc import Iterable, Mapping

from shared.log_lines import ANY_LINE, EVERY_LINE, LINES, WITHIN_A_CALL, Line

FIELDS_HEAD = ("| field | in | type | is |", "| --- | --- | --- | --- |")
LINES_HEAD = ("| event | level | when | fields |", "| --- | --- | --- | --- |")


def log_table(lines: Iterable[Line] = LINES) -> str:
    """The fields that any line can have, and then each line with its own."""
    shared = (
        *_shared("every line", EVERY_LINE),
        *_shared("lines within a call", WITHIN_A_CALL),
        *_shared("some lines", ANY_LINE),
    )
    return "\n".join([*FIELDS_HEAD, *shared, "", *LINES_HEAD, *map(_row, lines)])


def _shared(where: str, fields: Mapping[str, tuple[str, str]]) -> Iterable[str]:
    return (f"| `{name}` | {where} | {kind} | {what} |" for name, (kind, what) in fields.items())


def _row(line: Line) -> str:
    own = [f"`{name}`: {kind}" for name, kind in line.fields.items()]
    own += [f"`{name}`?: {kind}" for name, kind in line.optional.items()]
    levels = ", ".join(line.levels.split())
    return f"| {line.event} | {levels} | {line.when} | {', '.join(own)} |"
