"""Links names in a text to their descriptions on the page."""

import re
from collections.abc import Iterable, Iterator

from scripts.proto_files import ProtoFile

REASON_PREFIX = "ERROR_REASON_"
WELL_KNOWN = "https://protobuf.dev/reference/protobuf/google.protobuf/#"
# Names that are not ordinary words: they have an underscore, or capitals in the middle. Text in
# backticks matches as a whole, and is left as it is.
NAME = re.compile(r"`[^`]*`|\b(?:tandem\.\w+\.v1\.)?(?:[A-Z]\w*[a-z]\w*[A-Z]\w*|[A-Z]+_[A-Z_]+)\b")


class CrossReferences:
    """Every name that the files declare, with the anchor of its description."""

    def __init__(self, files: Iterable[ProtoFile]) -> None:
        self._anchors = {name: anchor for file in files for name, anchor in _declared(file)}

    def linked(self, file: ProtoFile, text: str) -> str:
        """Link every name in a comment of `file` that the page describes.

        A name that two packages declare refers to the one in the file's own package.
        """

        def linked_name(found: re.Match[str]) -> str:
            name = found[0]
            place = self._anchors.get(file.full_name(name)) or self._anchors.get(name)
            return link(name, place) if place else name

        return NAME.sub(linked_name, text)


def _declared(file: ProtoFile) -> Iterator[tuple[str, str]]:
    """The short and the full name of everything in a file, each with its anchor."""
    for name, place in _places(file):
        yield name, file.full_name(place)
        yield file.full_name(name), file.full_name(place)
        if name.startswith(REASON_PREFIX):
            yield name.removeprefix(REASON_PREFIX), reason_place(name)


def _places(file: ProtoFile) -> Iterator[tuple[str, str]]:
    for message in file.proto.message_type:
        yield message.name, message.name
    for enum in file.proto.enum_type:
        yield enum.name, enum.name
        yield from ((value.name, enum.name) for value in enum.value)
    for service in file.proto.service:
        yield service.name, service.name
        yield from ((method.name, f"{service.name}.{method.name}") for method in service.method)


def reason_place(value: str) -> str:
    """The anchor of a value of ErrorReason."""
    return f"reason.{value.removeprefix(REASON_PREFIX)}"


def type_link(full_name: str) -> str:
    """A link to a message or enum, `.package.Name` as descriptors have it."""
    name = full_name.removeprefix(".")
    short = name.rpartition(".")[2]
    if name.startswith("google.protobuf."):
        dashed = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", short).lower()
        return f"[`{name}`]({WELL_KNOWN}{dashed})"
    return link(f"`{short}`", name)


def link(text: str, place: str) -> str:
    """A link to an anchor on the same page."""
    return f"[{text}](#{place})"


def anchor(place: str) -> str:
    """The target of links to `place`."""
    return f'<a id="{place}"></a>'
