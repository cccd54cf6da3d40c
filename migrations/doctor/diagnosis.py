"""What an examination of a database says: its state, what was found, and what to do about it."""

from dataclasses import dataclass, field
from enum import Enum

from migrations.adopt.difference import Difference
from migrations.inspect.findings import Finding


class State(Enum):
    """The state of a database."""

    EMPTY = "empty"
    """It has no tables of Tandem: `tandem db upgrade` creates them."""
    UNVERSIONED = "unversioned"
    """Another program created its base tables: `tandem db upgrade` adopts them if they match."""
    AGENT_COM = "agent_com"
    """It is a database of agent_com: `tandem db upgrade --adopt agent_com` converts it."""
    OLDER = "older"
    """It is at a revision before the newest."""
    NEWEST = "newest"
    FOREIGN = "foreign"
    """Its history or its tables belong to another program."""


class Verdict(Enum):
    """What to do. The values are exit statuses; 1 and 2 are those of commands that fail."""

    CLEAN = 0
    UPGRADE = 3
    """`tandem db upgrade` has work to do, and nothing blocks it."""
    BLOCKED = 4
    """Something requires manual action."""


@dataclass(frozen=True)
class Diagnosis:
    """`revision` is the one that the database records; None if it records none."""

    state: State
    revision: str | None = None
    differences: list[Difference] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The most severe of what was found."""
        blocked = any(finding.count and finding.kind.blocks for finding in self.findings)
        if blocked or any(not difference.repair for difference in self.differences):
            return Verdict.BLOCKED
        return Verdict.CLEAN if self.state is State.NEWEST else Verdict.UPGRADE
