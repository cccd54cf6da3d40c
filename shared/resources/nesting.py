"""What protovalidate is not to look at, or does not see, in a request and in the messages in it.

Messages in lists are looked at like others, so that a field has its limits wherever it is.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from shared.resources import validation_rules

M = TypeVar("M", bound=Message)
RULES: Any = validation_rules.DESCRIPTOR.extensions_by_name["field"]
MAXIMUM_SECONDS = 315_576_000_000  # of a Duration, 10,000 years


class Plan(NamedTuple):
    """What is looked at in messages of a kind besides the rules: the names of its fields.

    `inner` are the fields with messages in which there is any of that: name, whether it is a list,
    and their plan.
    """

    lists: Sequence[tuple[str, int]]
    structs: Sequence[str]
    durations: Sequence[str]
    inner: Sequence[tuple[str, bool, "Plan"]]


@cache
def plan_of(kind: Any) -> Plan:
    """The plan of a kind of messages."""
    of_messages = [each for each in kind.fields if each.message_type]
    plans = ((each, plan_of(each.message_type)) for each in of_messages if _is_ours(each))
    single = [each for each in of_messages if not each.is_repeated]
    limits = ((each.name, _maximum_items(each)) for each in kind.fields if each.is_repeated)
    return Plan(
        [(name, limit) for name, limit in limits if limit],
        [each.name for each in single if each.message_type is Struct.DESCRIPTOR],
        [each.name for each in single if each.message_type is Duration.DESCRIPTOR],
        [(each.name, each.is_repeated, plan) for each, plan in plans if any(plan)],
    )


def _is_ours(field: Any) -> bool:
    return bool(field.message_type.file.package != "google.protobuf")


def without_structs(request: M) -> M:
    """A copy of the request without what is in Structs.

    No rule speaks of that, and a large one takes protovalidate seconds.
    """
    copy = type(request)()
    copy.CopyFrom(request)
    _clear(copy, plan_of(request.DESCRIPTOR))
    return copy


def _clear(message: Any, plan: Plan) -> None:
    for name in filter(message.HasField, plan.structs):
        message.ClearField(name)
        getattr(message, name).SetInParent()  # it may be required
    for name, is_list, inner in plan.inner:
        if is_list:
            for each in getattr(message, name):
                _clear(each, inner)
        elif message.HasField(name):
            _clear(getattr(message, name), inner)


def is_duration(value: Duration) -> bool:
    """Whether its parts fit: the rules take any for the sum of its parts."""
    seconds, nanos = value.seconds, value.nanos
    is_one_way = seconds >= 0 <= nanos or seconds <= 0 >= nanos
    return is_one_way and abs(nanos) < 10**9 and abs(seconds) <= MAXIMUM_SECONDS


def _maximum_items(field: Any) -> int:
    limit: int = field.GetOptions().Extensions[RULES].repeated.max_items
    return limit
