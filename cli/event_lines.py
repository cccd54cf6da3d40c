"""An event as a line, for people and for programs."""

from collections.abc import Iterator, Mapping
from typing import Any

import click
import orjson

# Of a value, so much is shown.
VALUE_LENGTH = 40
SHORT_ID = 8
# What a resource is called by, the first that it has.
NAMES = ("title", "name", "username", "key_prefix")
# What changes with every change.
ALWAYS = ("revision", "updated_at")
COLOURS = {"created": "green", "added": "green", "completed": "green"}
COLOURS |= dict.fromkeys(("deleted", "removed", "revoked", "failed", "cancelled"), "red")
SHOWN_ONCE = ("log_id", "first", "last", "project_id", "actor")


def as_json(event: Mapping[str, Any]) -> str:
    """The event as a JSON document, as the log has it."""
    columns = {name: value for name, value in event.items() if name not in SHOWN_ONCE}
    for name in ("before", "after"):
        columns[name] = _read(columns[name])
    return orjson.dumps(columns, default=str).decode()


def as_line(event: Mapping[str, Any]) -> str:
    """Number, time, who did what to which resource, and what that has changed."""
    word: str = event["type"]
    time = event["at"].astimezone().strftime("%Y-%m-%d %H:%M:%S")
    parts = [
        click.style(f"{event['sequence']:>7}  {time}", dim=True),
        _visible(_actor(event)),
        click.style(word, fg=COLOURS.get(word.rpartition(".")[2], "cyan")),
        _visible(_name(event)),
        *([_visible(changes)] if (changes := ", ".join(_changes(event))) else []),
    ]
    return "  ".join(parts)


def _actor(event: Mapping[str, Any]) -> str:
    """By name, or the beginning of its id if it is deleted."""
    if event["actor_id"] is None:
        return str(event["actor_type"])
    return str(event["actor"] or str(event["actor_id"])[:SHORT_ID])


def _name(event: Mapping[str, Any]) -> str:
    after = _read(event["after"]) or {}
    names = (after[name] for name in NAMES if after.get(name))
    return next(names, str(event["resource_id"])[:SHORT_ID])


def _changes(event: Mapping[str, Any]) -> Iterator[str]:
    before, after = _read(event["before"]) or {}, _read(event["after"]) or {}
    for name, value in before.items():
        # `before` may have columns that no event shows, of which `after` says nothing.
        if name in after and name not in ALWAYS and value != after[name]:
            yield f"{name}: {_value(value)} → {_value(after[name])}"
    for name in event["changed"] or ():
        yield f"{name} changed"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 1]}…"


def _read(json: str | None) -> Any:
    return json and orjson.loads(json)


def _visible(text: str) -> str:
    """Without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
