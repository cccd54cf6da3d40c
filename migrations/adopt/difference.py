"""One difference between existing tables and those that the next migrations build upon."""

from dataclasses import dataclass

# Expected of a name that a later migration gives to an object of its own.
RESERVED = "no object of this name, because a migration creates it"


@dataclass(frozen=True)
class Difference:
    """`part` is a column, a constraint or an index; empty for the table itself.

    `repair` is a statement that removes the difference without losing data; None if that requires
    manual action. `rows` is the number of rows that violate a missing constraint.
    """

    table: str
    part: str
    expected: str
    found: str
    repair: str | None = None
    rows: int = 0

    @property
    def place(self) -> str:
        """`table` or `table.part`."""
        return f"{self.table}.{self.part}" if self.part else self.table

    def __str__(self) -> str:
        return f"{self.place}: expected {self.expected}; found {self.found}"
