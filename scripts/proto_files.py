"""The protos as descriptors with their comments, which protobuf's runtime drops."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from scripts.protoc import compile_protos

# Field numbers in google/protobuf/descriptor.proto, by which a comment is located in a file.
PACKAGE, MESSAGE, ENUM, SERVICE = 2, 4, 5, 6
FIELD_OF_MESSAGE = VALUE_OF_ENUM = METHOD_OF_SERVICE = 2
ONEOF_OF_MESSAGE = 8


@dataclass(frozen=True)
class ProtoFile:
    """One file, and the comment above each of its parts."""

    proto: FileDescriptorProto
    comments: dict[tuple[int, ...], str]

    def comment(self, *path: int) -> str:
        """The comment above a part: paragraphs as written, "" if there is none."""
        return self.comments.get(path, "")

    def full_name(self, *names: str) -> str:
        """`package.Message`, `package.Service.Method` and so on."""
        return ".".join((self.proto.package, *names))


def read_protos(source: Path) -> list[ProtoFile]:
    """Compile the protos under `source`: those with a service first, each by its name."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as target:
        compile_protos(source, f"--descriptor_set_out={target.name}", "--include_source_info")
        files = FileDescriptorSet.FromString(target.read()).file
    ordered = sorted(files, key=lambda proto: (not proto.service, proto.name))
    return [ProtoFile(proto, dict(_comments(proto))) for proto in ordered]


def _comments(proto: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    for location in proto.source_code_info.location:
        lines = location.leading_comments.splitlines()
        yield tuple(location.path), "\n".join(line.removeprefix(" ") for line in lines).strip()
