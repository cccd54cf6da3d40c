"""What a caller may do in a project, and who may: the table of the rights of users and agents."""

from collections.abc import Set as AbstractSet
from enum import Enum, IntEnum, auto
from typing import Self, TypeAlias


class Role(IntEnum):
    """What a user is in a project: each may do what the ones before it may."""

    VIEWER = auto()
    EDITOR = auto()
    ADMIN = auto()
    OWNER = auto()


class Scope(Enum):
    """What the API key of an agent lets it do beyond its own tasks; the values are stored."""

    CLAIM_TASKS = "claim_tasks"
    READ_PROJECT = "read_project"
    CREATE_TASKS = "create_tasks"
    MANAGE_TASKS = "manage_tasks"
    MANAGE_ROOMS = "manage_rooms"


class Permission(Enum):
    """Something that may be done in a project.

    By users with `role` or more, by agents of the project with one of the `scopes`, and, if
    `own_suffices`, by those whose own the row is: the agent that it is, the agent or user that it
    is assigned to, the user who participates in it, the agent whose event it is. Superusers may
    everything.
    """

    def __new__(cls, *_of: object) -> Self:
        # By its place: two that permit the same callers are not the same.
        permission = object.__new__(cls)
        permission._value_ = len(cls.__members__)
        return permission

    def __init__(self, role: Role, scopes: AbstractSet[Scope], own_suffices: bool) -> None:
        self.role = role
        # Those that suffice, by the words that the database has for them.
        self.roles = tuple(each.name.lower() for each in Role if each >= role)
        self.scopes = scopes
        self.own_suffices = own_suffices
        # The parameter with the project in which an agent's scopes permit it, NULL if none.
        self.parameter = f"{self.name.lower()}_in"

    READ_PROJECT = Role.VIEWER, {Scope.READ_PROJECT}, False
    READ_AGENTS = Role.VIEWER, {Scope.READ_PROJECT}, True
    READ_TASKS = Role.VIEWER, {Scope.READ_PROJECT, Scope.MANAGE_TASKS}, True
    READ_ROOMS = Role.VIEWER, {Scope.READ_PROJECT, Scope.MANAGE_ROOMS}, True
    READ_EVENTS = Role.VIEWER, {Scope.READ_PROJECT}, True  # noqa: PIE796 (see __new__)
    CHECK_TASKS = Role.VIEWER, {Scope.READ_PROJECT, Scope.MANAGE_TASKS}, False
    LIST_ROOMS = Role.VIEWER, {Scope.READ_PROJECT, Scope.MANAGE_ROOMS}, False
    CREATE_TASKS = Role.EDITOR, {Scope.CREATE_TASKS, Scope.MANAGE_TASKS}, False
    MANAGE_TASKS = Role.EDITOR, {Scope.MANAGE_TASKS}, False
    MOVE_TASKS = Role.EDITOR, {Scope.MANAGE_TASKS}, True
    CLAIM_TASKS = Role.ADMIN, {Scope.CLAIM_TASKS}, False
    MANAGE_ROOMS = Role.EDITOR, {Scope.MANAGE_ROOMS}, False
    LEAVE_ROOMS = Role.EDITOR, {Scope.MANAGE_ROOMS}, True
    SET_AGENT_STATUS = Role.EDITOR, frozenset[Scope](), True
    ADMINISTER = Role.ADMIN, frozenset[Scope](), False
    OWN = Role.OWNER, frozenset[Scope](), False


class Access(Enum):
    """Which callers a method accepts that is about no project."""

    PROBE = auto()  # open, and answered without the database: health and reflection
    OPEN = auto()
    SUPERUSER = auto()
    USER = auto()
    USER_OR_AGENT = auto()


# What a method requires. A permission is decided for each row; an agent without any way to it is
# refused before.
Rule: TypeAlias = Access | Permission


def in_words(rule: Rule) -> str:
    """Who may call a method: "user or agent", or "editor; scope create_tasks or manage_tasks"."""
    if isinstance(rule, Access):
        return rule.name.lower().replace("_", " ")
    words = [rule.role.name.lower()]
    if rule.scopes:
        words.append(f"scope {' or '.join(sorted(scope.value for scope in rule.scopes))}")
    if rule.own_suffices:
        words.append("or its own")
    return "; ".join(words)


# Those that the scopes of an API key can give.
SCOPED = tuple(permission for permission in Permission if permission.scopes)


def permitted_in(project_id: object, scopes: AbstractSet[Scope]) -> dict[str, object]:
    """For each permission that scopes can give: the project, None if these scopes do not."""
    return {each.parameter: project_id if each.scopes & scopes else None for each in SCOPED}
