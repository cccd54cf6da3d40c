"""The resources of both services, found by their files: message, table, and what maps the two."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from google.api.field_behavior_pb2 import IDENTIFIER, IMMUTABLE, OUTPUT_ONLY, field_behavior
from google.protobuf.message import Message
from sqlalchemy import Table

from shared.resources.validation import Columns
from shared.schema import metadata

ROOT = Path(__file__).parents[2]
NOT_WRITTEN = {OUTPUT_ONLY, IDENTIFIER, IMMUTABLE}


@dataclass(frozen=True)
class Resource:
    """A message that `build` makes from a row of `table`; `messages` reads requests about it."""

    name: str
    messages: ModuleType
    build: Callable[[Any], Message]
    kind: Any
    table: Table

    @property
    def file(self) -> str:
        """Where it is read."""
        return _file(self.messages.__name__)

    @property
    def shared_file(self) -> str:
        """Where it is built."""
        return _file(self.build.__module__)

    @property
    def columns(self) -> Columns:
        """What a client may write; empty if the service writes all of it."""
        columns: Columns = getattr(self.messages, "COLUMNS", {})
        of = get_type_hints(self.messages).get("COLUMNS")
        return columns if of and self.kind in of.__args__[1].__args__ else {}

    @property
    def written(self) -> set[str]:
        """The fields that a client writes, as the proto says."""
        return {
            field.name
            for field in self.kind.DESCRIPTOR.fields
            if field.name != "revision"
            and not NOT_WRITTEN & {*field.GetOptions().Extensions[field_behavior]}
        }


def resources() -> Iterator[Resource]:
    """Every function of shared/messages that makes a message with an id of a row."""
    for path in sorted((ROOT / "shared" / "messages").glob("[!_]*.py")):
        shared = importlib.import_module(f"shared.messages.{path.stem}")
        for name, build in inspect.getmembers(shared, inspect.isfunction):
            takes_row = [*inspect.signature(build).parameters] == ["row"]
            kind: Any = get_type_hints(build)["return"]
            if takes_row and "id" in kind.DESCRIPTOR.fields_by_name:
                yield Resource(name, _messages(path.stem), build, kind, _table(name))


def _messages(folder: str) -> ModuleType:
    """The messages.py of the service whose resource it is."""
    paths = [*ROOT.glob(f"*_service/{folder}/messages.py")]
    assert len(paths) == 1, f"shared/messages/{folder}.py has no folder of a service."
    return importlib.import_module(".".join(paths[0].relative_to(ROOT).with_suffix("").parts))


def _file(module: str) -> str:
    return module.replace(".", "/") + ".py"


def _table(name: str) -> Table:
    tables = [table for table in metadata.tables.values() if table.name.endswith(f"{name}s")]
    assert len(tables) == 1, f"{name}() has no table {name}s in shared/schema: name both alike."
    return tables[0]
