"""Describes in words the rules that a field's options in the protos set."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, OneofDescriptorProto

from shared.resources import validation_rules

FIELD_RULES: Any = validation_rules.DESCRIPTOR.extensions_by_name["field"]
ONEOF_RULES: Any = validation_rules.DESCRIPTOR.extensions_by_name["oneof"]

BEHAVIOURS = {
    "REQUIRED": "required",
    "OUTPUT_ONLY": "output only",
    "IMMUTABLE": "immutable",
    "IDENTIFIER": "identifier",
}
# A rule that is missing here stops the generator, so that none stays undocumented.
WORDS: Mapping[str, Callable[[Any], str]] = {
    "string.uuid": lambda _: "a UUID",
    "string.email": lambda _: "an email address",
    "string.min_len": lambda least: f"at least {_counted(least, 'character')}",
    "string.max_len": lambda most: f"at most {_counted(most, 'character')}",
    "string.max_bytes": lambda most: f"at most {most:,} bytes of UTF-8",
    "string.pattern": lambda pattern: f"matches `{pattern}`",
    "string.not_contains": lambda part: f"no U+{ord(part):04X}",
    "enum.defined_only": lambda _: "a defined value",
    "enum.not_in": lambda numbers: f"not {', '.join(map(str, numbers))}",
    "int32.gte": lambda least: f"at least {least}",
    "int32.lte": lambda most: f"at most {most:,}",
    "int64.gte": lambda least: f"at least {least}",
    "int64.gt": lambda bound: f"above {bound:,}",
    "double.gt": lambda bound: f"above {bound:g}",
    "double.lte": lambda most: f"at most {most:,.0f}",
    "repeated.min_items": lambda least: f"at least {_counted(least, 'item')}",
    "repeated.max_items": lambda most: f"at most {_counted(most, 'item')}",
    "repeated.unique": lambda _: "distinct",
    "repeated.items": lambda rules: f"each {', '.join(_limits(rules))}",
    "duration.gte": lambda least: f"at least {least.seconds:,} s",
    "duration.lte": lambda most: f"at most {most.seconds:,} s",
}
# "If set", and what REQUIRED says.
SAID_OTHERWISE = ("ignore", "required")


def field_in_words(field: FieldDescriptorProto) -> list[str]:
    """The rules of a field: who sets it, then its limits.

    Raises KeyError with the name of a rule or behaviour that has no words here.
    """
    behaviours = field.options.Extensions[field_behavior_pb2.field_behavior]
    names = map(field_behavior_pb2.FieldBehavior.Name, behaviours)
    rules = field.options.Extensions[FIELD_RULES]
    limits = ", ".join(_limits(rules)) + (" if set" if rules.HasField("ignore") else "")
    return [*(BEHAVIOURS[name] for name in names), *filter(None, [limits])]


def oneof_in_words(oneof: OneofDescriptorProto) -> str:
    """How many fields of a oneof must be set."""
    required = oneof.options.Extensions[ONEOF_RULES].required
    return f"{'exactly' if required else 'at most'} one of `{oneof.name}`"


def _limits(rules: Any) -> Iterator[str]:
    for kind, limits in rules.ListFields():
        if kind.name not in SAID_OTHERWISE:
            for rule, value in limits.ListFields():
                yield _words(f"{kind.name}.{rule.name}")(value)


def _words(rule: str) -> Callable[[Any], str]:
    if rule not in WORDS:
        raise KeyError(f"{rule} has no words for docs/api.md: add it to WORDS in {__file__}.")
    return WORDS[rule]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"
