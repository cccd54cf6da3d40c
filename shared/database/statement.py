"""Statements: built by SQLAlchemy Core from `shared.schema`, run by asyncpg.

Each is compiled once, when it is first used, to the text that asyncpg prepares: running it costs
what asyncpg costs.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.sql import ClauseElement

from shared.database.pool import Connection, Record

NOTHING: Mapping[str, Any] = {}


class _Compiler(PGCompiler_asyncpg):
    """Writes constants into the SQL, because the planner can match a literal with a partial index.

    Only what is given by name at each run is a parameter.
    """

    def visit_bindparam(self, bindparam: Any, *arguments: Any, **options: Any) -> Any:
        if not bindparam.required:
            options["literal_binds"] = True
        return super().visit_bindparam(bindparam, *arguments, **options)  # type: ignore[no-untyped-call]


DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
DIALECT.statement_compiler = _Compiler


class Statement:
    """A statement with a sentence of purpose; its parameters are given by name at each run.

    Each run takes exactly the parameters of the statement. A mapping may offer more: of the
    caller's rights, a statement takes those that it names, and no parameter replaces one of them.
    """

    def __init__(self, purpose: str, construct: ClauseElement) -> None:
        self.purpose = purpose
        self._construct = construct

    @cached_property
    def sql(self) -> str:
        """The text, with $1, $2, … for the parameters."""
        return str(self._compiled)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order of their numbers."""
        return tuple(self._compiled.positiontup or ())

    async def row(
        self, connection: Connection, offered: Mapping[str, Any] = NOTHING, **parameters: Any
    ) -> Record | None:
        """The first row, or None."""
        return await connection.fetchrow(self.sql, *self.arguments(offered, parameters))

    async def rows(
        self, connection: Connection, offered: Mapping[str, Any] = NOTHING, **parameters: Any
    ) -> list[Record]:
        """Every row: the statement itself has to bound them."""
        return await connection.fetch(self.sql, *self.arguments(offered, parameters))

    async def run(
        self, connection: Connection, offered: Mapping[str, Any] = NOTHING, **parameters: Any
    ) -> None:
        """Run it for its effect."""
        await connection.execute(self.sql, *self.arguments(offered, parameters))

    def arguments(self, offered: Mapping[str, Any], parameters: dict[str, Any]) -> list[Any]:
        """The parameters in the order of their numbers. Raises TypeError."""
        names = self.names
        if not self._known.issuperset(parameters):
            raise TypeError(f"The statement takes {names}, not {set(parameters) - self._known}.")
        if not offered.keys().isdisjoint(parameters):
            raise TypeError(
                f"{offered.keys() & parameters.keys()} must not be given: it is offered."
            )
        try:
            return [parameters[n] if n in parameters else offered[n] for n in names]
        except KeyError as missing:
            raise TypeError(f"The statement needs the parameter {missing}.") from None

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _compiled(self) -> Any:
        return self._construct.compile(dialect=DIALECT)
