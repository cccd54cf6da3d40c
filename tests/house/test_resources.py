"""Nothing of a resource is forgotten between its message and its table, in either direction."""

import importlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from sqlalchemy import ForeignKeyConstraint, UniqueConstraint

from shared.resources.nesting import RULES
from shared.schema import UQ_AGENT_API_KEYS_HASH, UQ_AGENT_API_KEYS_KEY_ID, metadata
from tests.house.resources import ROOT, Resource, resources
from tests.schema.samples import samples

RESOURCES = list(resources())
every_resource = pytest.mark.parametrize("resource", RESOURCES, ids=lambda one: one.name)

# Columns that no client sees, each with the reason.
HIDDEN = {
    "agent_api_keys.api_key_hash": "a secret",  # pragma: allowlist secret
    "agent_api_keys.created_by_type": "always user",
    "chat_participants.project_id": "its room's",
    "chat_participants.created_at": "joined_at",
    "chat_participants.updated_at": "joined_at",
    "tasks.assigned_agent_id": "assigned_to",
    "tasks.assigned_user_id": "assigned_to",
    "tasks.rank": "priority",
    "tasks.lane": "assigned_to and required_capabilities",
    "tasks.releases": "only for the limit of ReleaseTask",
    "tasks.fence": "only for who holds the task: Lease.fencing_token",
    "tasks.cancel_deadline": "only for who holds the task: CancelRequest.deadline_in",
    "tasks.preferred_until": "assigned_to, until then",
    "tasks.has_dependents": "a hint for statements",
}
# Columns of a repeated field, whose values are joined; messages.py checks their length in all.
JOINED = {"tasks.required_capabilities"}
# Fields that a client writes in another way than by COLUMNS, each with the way.
OTHERWISE = {
    "ApiKey.capabilities": "CreateApiKey",
    "ApiKey.scopes": "CreateApiKey",
    "ApiKey.expires_at": "CreateApiKey",
    "Task.assigned_to": "CreateTask and AssignTask",
    "Task.assigned_to_type": "CreateTask and AssignTask",
}
# Fields of a response that are not of the row.
ANSWERED_ONCE = {"tandem.agent.v1.Agent.api_key"}
# What is random.
RANDOM = {UQ_AGENT_API_KEYS_KEY_ID, UQ_AGENT_API_KEYS_HASH}
UUIDS = ("018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002")


def test_no_reference_leaves_its_project() -> None:
    for table in metadata.tables.values():
        for key in table.foreign_key_constraints:
            both_in_a_project = "project_id" in table.c and "project_id" in key.referred_table.c
            assert not both_in_a_project or "project_id" in key.column_keys, (
                f"{key.name} has to be a reference of same_project(), in shared/schema/base.py."
            )


def test_every_resource_is_found() -> None:
    names = {resource.name for resource in RESOURCES}
    assert names >= {"agent", "project", "room", "participant", "api_key", "task"}


@every_resource
def test_every_field_has_a_column(resource: Resource) -> None:
    stored = {
        field.name
        for field in resource.kind.DESCRIPTOR.fields
        if field.full_name not in ANSWERED_ONCE
    }
    missing = stored - {*resource.table.c.keys()}
    assert not missing, f"The table {resource.table.name} in shared/schema has no {missing}."


@every_resource
def test_every_column_is_read_into_its_own_field(resource: Resource) -> None:
    for column in resource.table.columns:
        if f"{resource.table.name}.{column.name}" in HIDDEN:
            continue
        first, *others = [resource.build(row(resource, column.name, v)) for v in samples(column)]
        for other in others:
            assert different(first, other) == {column.name}, (
                f"{resource.name}() in {resource.shared_file} does not read {column.name} of the "
                f"row into the field {column.name} only; if no client may see it, add it to HIDDEN "
                "in tests/house/test_resources.py."
            )


@every_resource
def test_every_value_of_an_enum_can_be_stored(resource: Resource) -> None:
    for field in resource.kind.DESCRIPTOR.fields:
        if field.enum_type is None:
            continue
        column = resource.table.c[field.name]
        values = [*samples(column), *([None] if column.nullable else [])]
        built = [getattr(resource.build(row(resource, column.name, v)), field.name) for v in values]
        if field.is_repeated:
            built = [value for values in built for value in values]
        declared = {v.number for v in field.enum_type.values if v.number or column.nullable}
        assert sorted(built) == sorted(declared), (
            f"{field.enum_type.name} in the proto, the values of {column} in shared/schema, and "
            f"what {resource.shared_file} maps them to are not the same."
        )


@every_resource
def test_every_field_that_a_client_may_write_is_written(resource: Resource) -> None:
    kind = resource.kind.DESCRIPTOR.name
    otherwise = {name.partition(".")[2] for name in OTHERWISE if name.startswith(f"{kind}.")}
    assert {*resource.columns} == resource.written - otherwise, (
        f"COLUMNS in {resource.file} has to have the fields of {kind} that are not OUTPUT_ONLY, "
        "IDENTIFIER or IMMUTABLE in the proto. If a method of its own writes a field, add it to "
        "OTHERWISE in tests/house/test_resources.py."
    )


@every_resource
def test_every_column_is_written_from_its_own_field(resource: Resource) -> None:
    for name, read in resource.columns.items():
        field = resource.kind.DESCRIPTOR.fields_by_name[name]
        given = [read(resource.kind(**{name: value})) for value in values_of(field)]
        assert given[0] != given[1], f"COLUMNS in {resource.file}: {name} is read elsewhere."


@every_resource
def test_every_text_that_a_client_writes_fits_its_column(resource: Resource) -> None:
    for name in resource.written:
        field = resource.kind.DESCRIPTOR.fields_by_name[name]
        column = resource.table.c[name]
        length = None if str(column) in JOINED else getattr(column.type, "length", None)
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING and length:
            limit = field.GetOptions().Extensions[RULES].string.max_len
            assert limit == length, f"{field.full_name} and its column have other limits."


@pytest.mark.parametrize("resource", [r for r in RESOURCES if r.columns], ids=lambda r: r.name)
def test_every_update_says_what_can_be_changed(
    resource: Resource, comments: dict[str, str]
) -> None:
    kind = resource.kind.DESCRIPTOR
    mask = f"{kind.file.package}.Update{kind.name}Request.update_mask"
    described = re.findall(r"`(\w+)`", comments[mask].partition(".")[0])
    assert described == [*resource.columns], (
        f"The first sentence of the comment of {mask} has to name the keys of COLUMNS in "
        f"{resource.file}, in their order."
    )


@every_resource
def test_every_constraint_that_two_calls_can_violate_has_its_refusal(resource: Resource) -> None:
    rules = importlib.import_module(resource.messages.__name__.replace(".messages", ".rules"))
    known = {name for key, of in vars(rules).items() if key.endswith("REFUSALS") for name in of}
    decisive = {
        str(constraint.name)
        for constraint in resource.table.constraints
        if isinstance(constraint, ForeignKeyConstraint | UniqueConstraint)
        and "id" not in constraint.columns
    }
    assert not decisive - known - RANDOM, (
        f"REFUSALS in {rules.__file__} do not say what a violation of {decisive - known} means."
    )


@every_resource
def test_every_field_that_a_client_may_write_has_a_test(resource: Resource) -> None:
    folder = ROOT / "tests" / Path(resource.file).parent
    text = "".join(path.read_text() for path in folder.glob("test_*.py"))
    untested = {name for name in resource.written if not re.search(rf"\b{name}\b", text)}
    assert not untested, f"No test in {folder.relative_to(ROOT)} speaks of {untested}."


def row(resource: Resource, name: str, value: Any) -> dict[str, Any]:
    """A row with `value` in the column `name`, and as little as possible in the others."""
    others = {c.name: None if c.nullable else samples(c)[0] for c in resource.table.columns}
    # An object is read as its text.
    return {**others, name: orjson.dumps(value) if isinstance(value, dict) else value}


def different(one: Message, other: Message) -> set[str]:
    """The names of the fields in which two messages of a kind differ."""
    fields = one.DESCRIPTOR.fields
    return {f.name for f in fields if said(one, f.name) != said(other, f.name)}


def said(message: Message, name: str) -> tuple[bool, Any]:
    field = message.DESCRIPTOR.fields_by_name[name]
    return not field.has_presence or message.HasField(name), getattr(message, name)


def values_of(field: FieldDescriptor) -> tuple[Any, Any]:
    """Two values of a field, of which neither is a default."""
    kinds: dict[Any, tuple[Any, Any]] = {
        FieldDescriptor.CPPTYPE_STRING: UUIDS,
        FieldDescriptor.CPPTYPE_BOOL: (True, False),
        FieldDescriptor.CPPTYPE_ENUM: (1, 2),
        FieldDescriptor.CPPTYPE_INT32: (1, 2),
        FieldDescriptor.CPPTYPE_DOUBLE: (1.0, 2.0),
    }
    messages: dict[str, tuple[Any, Any]] = {
        "Struct": ({"a": 1}, {"b": 1}),
        "Timestamp": (datetime(2001, 1, 1, tzinfo=UTC), datetime(2002, 1, 1, tzinfo=UTC)),
    }
    values = messages[field.message_type.name] if field.message_type else kinds[field.cpp_type]
    return ([values[0]], [values[1]]) if field.is_repeated else values
