"""Reads variables out of the environment, or out of the files that it names.

A value is never repeated in a problem, since it may be a secret; nor is the path of a file, since a
secret may have been set in its place.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from shared.settings.variables import IN_FILE, OTHERS, OTHERS_IN_FILES, PREFIX, TESTS, Variable
from shared.trusted_issuers import NotAllowed

MAXIMUM_FILE_BYTES = 1024 * 1024
# What Kubernetes sets in every container for a Service called tandem or tandem-…, by default.
LINK = re.compile(
    r"(TANDEM\w*?)_(?:SERVICE_HOST|SERVICE_PORT\w*|PORT(?:_\d+_(?:TCP|UDP|SCTP)\w*)?)"
)
LINKED = ("tcp://", "udp://", "sctp://")


@dataclass
class Found:
    """The values by field, the variable that each came from, and what is wrong, in sentences."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(variables: Iterable[Variable], environ: Mapping[str, str]) -> Found:
    """The case of a name does not matter; an empty value counts as none."""
    variables = list(variables)
    found = Found()
    environment = _environment(environ, found)
    for each in variables:
        given = [name for name in (each.name, each.file_name) if name and name in environment]
        if len(given) > 1:
            found.problems.append(f"{given[1]}: must not be set beside {given[0]}.")
        elif given:
            _read_one(each, given[0], environment[given[0]], found)
    known = [name for each in variables for name in (each.name, each.file_name) if name]
    found.problems += _unknown(known, environment)
    return found


def in_file(path: str) -> str:
    """What a file says, without the end of its last line. Raises NotAllowed."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAXIMUM_FILE_BYTES + 1)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "unknown reason"
        raise NotAllowed(f"the file that it names cannot be read ({reason})") from None
    if len(content) > MAXIMUM_FILE_BYTES:
        raise NotAllowed(f"the file that it names can have {MAXIMUM_FILE_BYTES:,} bytes")
    text = re.sub(rb"\r?\n\Z", b"", content)
    if not text:
        raise NotAllowed("the file that it names is empty")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise NotAllowed("the file that it names must be UTF-8") from None


def _environment(environ: Mapping[str, str], found: Found) -> dict[str, str]:
    environment: dict[str, str] = {}
    for spelling, value in environ.items():
        name = spelling.upper()
        if not value or not name.startswith(PREFIX):
            continue
        if name in environment:
            found.problems.append(f"{name}: is set twice, with letters of different case.")
        environment[name] = value
    return environment


def _read_one(variable: Variable, name: str, text: str, found: Found) -> None:
    try:
        value = in_file(text) if name == variable.file_name else _utf8(text)
        found.values[variable.field] = variable.setting.form.parse(value)
        found.sources[variable.field] = name
    except NotAllowed as allowed:
        found.problems.append(f"{name}: {allowed}.")


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # Python keeps bytes that are not UTF-8 as lone surrogates
        raise NotAllowed("must be UTF-8") from None
    return text


def _unknown(settings: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that no part of Tandem reads: most are spelled wrongly."""
    known = [*settings, *OTHERS, *(name + IN_FILE for name in OTHERS_IN_FILES)]
    return [
        f"{name}: no part of Tandem reads it; {_nearest(name, known)}."
        for name in environment
        if name not in known and not name.startswith(TESTS) and not _is_link(name, environment)
    ]


def _nearest(name: str, known: Iterable[str]) -> str:
    bare = [each.removeprefix(PREFIX) for each in known]
    near = get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return f"the nearest name is {PREFIX}{near[0]}" if near else "`tandem up --help` has all names"


def _is_link(name: str, environment: Mapping[str, str]) -> bool:
    if found := LINK.fullmatch(name):
        return environment.get(f"{found[1]}_PORT", "").startswith(LINKED)
    return False
