"""Describes every method, message, enum and reason of the protos, for docs/api.md."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    MethodDescriptorProto,
)

from scripts.cross_references import (
    REASON_PREFIX,
    CrossReferences,
    anchor,
    link,
    reason_place,
    type_link,
)
from scripts.proto_files import (
    ENUM,
    FIELD_OF_MESSAGE,
    MESSAGE,
    METHOD_OF_SERVICE,
    ONEOF_OF_MESSAGE,
    PACKAGE,
    SERVICE,
    VALUE_OF_ENUM,
    ProtoFile,
)
from scripts.proto_rules import field_in_words, oneof_in_words


class Reference:
    """The reference of a set of files. `access` describes which callers each method accepts."""

    def __init__(self, files: Sequence[ProtoFile], access: Mapping[str, str]) -> None:
        self._files = files
        self._access = access
        self._names = CrossReferences(files)

    def render(self) -> str:
        """Everything as Markdown: one chapter per file, services before shared messages."""
        parts = [self._contents(), *(part for file in self._files for part in self._chapter(file))]
        return "\n\n".join(filter(None, parts))

    def _contents(self) -> str:
        rows = []
        for file in self._files:
            for service in file.proto.service:
                name = file.full_name(service.name)
                methods = (link(m.name, f"{name}.{m.name}") for m in service.method)
                rows.append((link(f"`{name}`", name), ", ".join(methods)))
        return _table(("service", "methods"), rows)

    def _chapter(self, file: ProtoFile) -> Iterator[str]:
        if not file.proto.service:
            yield "## Errors"
            yield self._prose(file, PACKAGE)
        for index, service in enumerate(file.proto.service):
            yield f"## {anchor(file.full_name(service.name))}{service.name}"
            yield self._prose(file, PACKAGE)
            yield self._prose(file, SERVICE, index)
            for number, method in enumerate(service.method):
                yield from self._method(file, service.name, method)
                yield self._prose(file, SERVICE, index, METHOD_OF_SERVICE, number)
        for index, message in enumerate(file.proto.message_type):
            yield from self._message(file, message, index)
        for index, enum in enumerate(file.proto.enum_type):
            yield from self._enum(file, enum, index)

    def _method(
        self, file: ProtoFile, service: str, method: MethodDescriptorProto
    ) -> Iterator[str]:
        called = f"/{file.full_name(service)}/{method.name}"
        if called not in self._access:
            raise SystemExit(f"{called} has no rule in access.py of its service.")
        asked, answered = type_link(method.input_type), type_link(method.output_type)
        yield f"### {anchor(file.full_name(service, method.name))}{method.name}"
        yield f"{asked} → {answered} · access: {self._access[called]} · `{called}`"

    def _message(self, file: ProtoFile, message: DescriptorProto, index: int) -> Iterator[str]:
        yield f"### {anchor(file.full_name(message.name))}{message.name}"
        yield self._prose(file, MESSAGE, index)
        for number, oneof in enumerate(message.oneof_decl):
            if comment := self._cell(file, MESSAGE, index, ONEOF_OF_MESSAGE, number):
                yield f"`{oneof.name}`: {comment}"
        meanings = self._cells(file, len(message.field), MESSAGE, index, FIELD_OF_MESSAGE)
        rows = [
            (f"`{field.name}`", _type(field), "; ".join(_rules(message, field)), meaning)
            for field, meaning in zip(message.field, meanings, strict=True)
        ]
        yield _table(("field", "type", "rules", "meaning"), rows) if rows else "It has no fields."

    def _enum(self, file: ProtoFile, enum: EnumDescriptorProto, index: int) -> Iterator[str]:
        yield f"### {anchor(file.full_name(enum.name))}{enum.name}"
        yield self._prose(file, ENUM, index)
        meanings = self._cells(file, len(enum.value), ENUM, index, VALUE_OF_ENUM)
        if enum.value[0].name.startswith(REASON_PREFIX):
            yield _reasons(enum, meanings)
        else:
            values = zip(enum.value, meanings, strict=True)
            rows = [(f"`{value.name}`", str(value.number), meaning) for value, meaning in values]
            yield _table(("value", "number", "meaning"), rows)

    def _prose(self, file: ProtoFile, *path: int) -> str:
        text = self._names.linked(file, file.comment(*path))
        return re.sub("^Errors:", "**Errors:**", text, flags=re.MULTILINE)

    def _cell(self, file: ProtoFile, *path: int) -> str:
        return self._names.linked(file, " ".join(file.comment(*path).split()))

    def _cells(self, file: ProtoFile, count: int, *path: int) -> list[str]:
        return [self._cell(file, *path, number) for number in range(count)]


def _rules(message: DescriptorProto, field: FieldDescriptorProto) -> list[str]:
    words = field_in_words(field)
    # protoc makes each optional field a oneof of its own, which is not in the proto.
    if field.HasField("oneof_index") and not field.proto3_optional:
        words.append(oneof_in_words(message.oneof_decl[field.oneof_index]))
    return words


def _type(field: FieldDescriptorProto) -> str:
    scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    name = type_link(field.type_name) if field.type_name else f"`{scalar}`"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _reasons(enum: EnumDescriptorProto, comments: list[str]) -> str:
    """Each value's comment begins with its status code, which gets a column of its own."""
    rows = []
    for value, comment in zip(enum.value, comments, strict=True):
        code, dot, meaning = comment.partition(". ")
        described = (f"`{code}`", meaning) if dot else ("", comment)  # UNSPECIFIED has no code
        name = value.name.removeprefix(REASON_PREFIX)
        rows.append((f"{anchor(reason_place(value.name))}`{name}`", *described))
    return _table(("reason", "status code", "meaning"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_in_a_cell, line))} |" for line in lines)


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")
