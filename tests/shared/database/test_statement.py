"""A statement takes exactly the parameters that it names, and writes its constants as literals."""

import asyncpg
import pytest
from sqlalchemy import ARRAY, Integer, String, any_, bindparam, literal, select

from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.schema import tasks

SUM = Statement(
    "A sum.", select(bindparam("left", type_=Integer) + bindparam("right", type_=Integer))
)


async def run(database: Database, offered: dict[str, int], **parameters: int) -> int:
    row = await database.read(lambda c: SUM.row(c, offered, **parameters))
    assert row is not None
    found: int = row[0]
    return found


async def test_every_parameter_is_passed_by_its_name(database: Database) -> None:
    assert await run(database, {}, right=40, left=2) == 42


@pytest.mark.parametrize("parameters", [{"left": 1}, {}])
async def test_a_missing_parameter_raises(database: Database, parameters: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="needs the parameter"):
        await run(database, {}, **parameters)


async def test_an_unknown_parameter_raises(database: Database) -> None:
    with pytest.raises(TypeError, match="wrong"):
        await run(database, {}, left=1, right=2, wrong=3)


async def test_a_misspelt_parameter_is_not_taken_for_null(database: Database) -> None:
    with pytest.raises(TypeError, match="rihgt"):
        await run(database, {}, left=1, rihgt=2)


async def test_what_is_offered_is_taken_only_if_it_is_named(database: Database) -> None:
    assert await run(database, {"right": 2, "caller_id": 7}, left=1) == 3


async def test_what_is_offered_is_not_replaced(database: Database) -> None:
    """Else a column that is named like a right of the caller would decide access."""
    with pytest.raises(TypeError, match="right"):
        await run(database, {"right": 2}, left=1, right=5)


async def test_rows_and_run_are_as_strict(database: Database) -> None:
    for method in (SUM.rows, SUM.run):
        with pytest.raises(TypeError, match="needs the parameter"):
            await database.read(lambda c, m=method: m(c, left=1))  # type: ignore[misc]
        with pytest.raises(TypeError, match="wrong"):
            await database.read(lambda c, m=method: m(c, left=1, right=2, wrong=3))  # type: ignore[misc]


def test_constants_stand_in_the_text() -> None:
    statement = Statement(
        "Tasks that have ended.",
        select(tasks.c.id).where(
            tasks.c.status.in_(("it's", "failed")),
            tasks.c.title == any_(bindparam("titles", type_=ARRAY(String))),
            literal(1_000_000, Integer) > 5,
        ),
    )
    assert statement.names == ("titles",)
    assert "IN ('it''s', 'failed')" in statement.sql
    assert "1000000 > 5" in statement.sql


async def test_a_literal_with_a_quote_or_a_backslash_is_the_text_itself(
    database: Database,
) -> None:
    text = "a 'quote', a \\ and $1"
    row = await database.read(lambda c: Statement("A text.", select(literal(text))).row(c))
    assert isinstance(row, asyncpg.Record)
    assert row[0] == text
