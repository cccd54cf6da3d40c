"""Shows and changes users by the rules of the service, on the database itself."""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import asyncpg
import orjson

from agent_service.users import rules
from cli import queries
from cli.console import CommandError, confirm
from cli.database import NotMigratedError, run
from cli.table import table
from shared.database.pool import Connection, Record, UnitOfWork
from shared.database.transaction import Database
from shared.errors import Refusal
from shared.events.recording import Log, recorded
from shared.settings import DATABASE_URL_FORM

T = TypeVar("T")

# So wide that no terminal wraps what a program may read.
WIDTH = 200
ON = {True: "yes", False: "no"}


def everyone(url: str) -> list[dict[str, Any]]:
    """Every user, by name."""
    rows = run(url, lambda connection: connection.fetch(queries.USERS))
    return [dict(row) for row in rows]


def one(url: str, name: str) -> dict[str, Any]:
    """The user with this name. Raises CommandError if there is none."""
    return dict(_run(url, lambda connection: _find(connection, name)))


def change(url: str, name: str, **values: Any) -> dict[str, Any]:
    """Give columns of a user these values. Raises CommandError, and then nothing has changed."""

    async def work(connection: Connection, log: Log) -> Record:
        user = await _find(connection, name)
        return await rules.change(connection, log, user["id"], 0, values)

    return dict(_run(url, recorded(work)))


def delete(url: str, name: str, *, yes: bool) -> None:
    """Delete a user, if that is confirmed or `yes`. Raises CommandError as `change`."""
    user = one(url, name)
    if not yes:
        confirm(f"Delete the user {user['username']}?", "Add --yes to delete the user.")
    _run(url, recorded(lambda connection, log: rules.delete(connection, log, user["id"], 0)))


def as_json(found: Any) -> str:
    """A document with what was found."""
    # default: the ids of asyncpg are a UUID of its own.
    return orjson.dumps(found, default=str, option=orjson.OPT_INDENT_2).decode()


def as_table(users: list[dict[str, Any]]) -> str:
    """The users as lines."""
    headings = ("Name", "E-mail address", "Full name", "Active", "Superuser", "Id")
    return "\n".join(table(headings, [_cells(user) for user in users], WIDTH))


def as_text(user: Mapping[str, Any]) -> str:
    """Everything about a user, a line each."""
    lines = [(name.replace("_", " "), _said(value)) for name, value in user.items()]
    widest = max(len(name) for name, _ in lines)
    return "\n".join(f"{name.ljust(widest)}  {value}".rstrip() for name, value in lines)


def _cells(user: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("username", "email", "full_name", "is_active", "is_superuser", "id")
    return tuple(_said(user[name]) for name in names)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return ON[value]
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


async def _find(connection: Connection, name: str) -> Record:
    row = await rules.find(connection, "username", name)
    if row is None:
        raise CommandError(f"There is no user {name}.")
    return row


def _run(url: str, unit_of_work: UnitOfWork[T]) -> T:
    """Run a unit of work in a transaction. Raises CommandError for each refusal."""
    try:
        return asyncio.run(_transaction(url, unit_of_work))
    except Refusal as refusal:
        raise CommandError(_in_words(refusal)) from None
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        raise NotMigratedError from None
    except ValueError:  # its text may quote the password
        raise CommandError(f"TANDEM_DATABASE_URL: {DATABASE_URL_FORM}.") from None


async def _transaction(url: str, unit_of_work: UnitOfWork[T]) -> T:
    database = await Database.connect(url, 1, "tandem users")
    try:
        return await database.transaction(unit_of_work)
    finally:
        await database.close()


def _in_words(refusal: Refusal) -> str:
    owned = refusal.metadata.get("project_ids", "")
    return "\n  ".join([refusal.message, *filter(None, owned.split(","))])
