"""The lines that the services write into their logs: one schema, for those who read them.

docs/logs.md is made of this, and tests compare with it what code logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# The types of fields, by which a line is checked.
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "text": str,
    "integer": int,
    "number": (int, float),
    "list of texts": list,
    "object": dict,
    "list of objects": list,
}

EVERY_LINE = {
    "event": ("text", "what happened: a name out of the table below"),
    "level": ("text", "`debug`, `info`, `warning` or `error`"),
    "service": ("text", "`agents` or `tasks`"),
    "timestamp": ("text", "RFC 3339 in UTC, with microseconds"),
}
WITHIN_A_CALL = {
    "request_id": ("text", "the `x-request-id` of the call"),
    "trace_id": (
        "text",
        "32 hexadecimal digits: the trace in the call's `traceparent`, if it has one",
    ),
    "span_id": ("text", "the span in it, which is the caller's: 16 hexadecimal digits"),
}
ANY_LINE = {
    "exception": ("list of objects", "with a traceback: a fault, with its causes and their frames"),
    "logger": ("text", "the line is one of a library, whose own text is its `event`"),
}
PROJECT = {"project_id": "text"}
CAUSE = {"cause": "text"}
CERTIFICATE = {"variable": "text", "serial": "text", "expires": "text"}


@dataclass(frozen=True)
class Line:
    """A line that may be written: its event, its levels, when, and its own fields with types."""

    event: str
    levels: str
    when: str
    fields: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)


LINES = (
    Line(
        "call",
        "info debug",
        "a call has ended; `debug` for health probes and reflection, unless they fail. `method` is "
        "`unknown` for one that does not exist, `caller` is `-` without a valid token, `code` is "
        "the gRPC status, `reason` why it failed. `sample` is the share by which the line was "
        "chosen (`TANDEM_LOG_SAMPLE`): it stands for 1/`sample` calls",
        {"method": "text", "caller": "text", "code": "text", "ms": "number"},
        {"reason": "text", "sample": "number"},
    ),
    Line(
        "token refused",
        "info",
        "before the call's own line: what is wrong with its token. 5 in a second at most, 20 at "
        "once; `left_out` says how many were left out before",
        {"fault": "text"},
        {
            "claim": "text",
            "expected": "text",
            "found": "text",
            "issuer": "text",
            "left_out": "integer",
        },
    ),
    Line("refused", "warning", "a call was refused because of something unexpected (`exception`)"),
    Line(
        "fault",
        "error",
        "an error in Tandem (`exception`): the call failed with INTERNAL, or what a process does "
        "beside calls is tried again",
        optional={"method": "text", **PROJECT},
    ),
    Line(
        "listening",
        "info",
        "calls are served",
        {"address": "text", "port": "integer", "tls": "text"},
    ),
    Line("certificates replaced", "info", "`serials` by variable", {"serials": "object"}),
    Line("new certificates cannot be used; those of before stay", "error", "once", {"why": "text"}),
    Line("a certificate expires soon", "warning", "once a day", CERTIFICATE),
    Line("a certificate has expired", "error", "once a day", CERTIFICATE),
    Line("metrics", "info", "metrics are served", {"address": "text", "port": "integer"}),
    Line("stopped", "info", "the process ends"),
    Line("ready", "warning", "the database takes changes again"),
    Line(
        "not ready: the database takes no changes",
        "warning",
        "the process is not ready",
    ),
    Line("no database yet", "warning", "at a start", {"attempt": "integer", **CAUSE}),
    Line("heads of logs not added", "warning", "at a start; done later", CAUSE),
    Line("no API keys", "warning", "at a start: API keys cannot be used", {"why": "text"}),
    Line(
        "tokens and data cross the network unencrypted",
        "warning",
        "at a start, on an address that other machines reach",
        {"address": "text"},
    ),
    Line(
        "the role in TANDEM_DATABASE_URL can do more than read and write rows: `tandem db roles` "
        "makes one that cannot",
        "warning",
        "at a start",
        {"can": "list of texts"},
    ),
    Line(
        "the issuer's keys",
        "info",
        "they were fetched, and are others than before",
        {"kids": "list of texts"},
        {"issuer": "text"},
    ),
    Line(
        "cannot fetch the issuer's keys",
        "warning",
        "`known` keys stay trusted",
        {**CAUSE, "known": "integer"},
        {"issuer": "text"},
    ),
    Line(
        "the issuer's keys are too old to be trusted",
        "error",
        "they could not be fetched for so long",
        {"seconds": "number"},
        {"issuer": "text"},
    ),
    Line(
        "some of the issuer's keys are ignored",
        "warning",
        "`keys` has the reason for each",
        {"keys": "object"},
        {"issuer": "text"},
    ),
    Line(
        "uses of API keys not written yet", "warning", "tried again", {"keys": "integer", **CAUSE}
    ),
    Line("agent not noted as seen", "warning", "the call goes on", {"agent_id": "text", **CAUSE}),
    Line("leases expired", "info", "a sweep ended that many", {"number": "integer"}),
    Line("tasks cancelled", "info", "a sweep did so", {"number": "integer"}),
    Line("tasks shared again", "info", "a sweep did so", {"number": "integer"}),
    Line("agents gone offline", "info", "a sweep found them silent", {"number": "integer"}),
    Line("tasks not swept", "warning", "tried again", CAUSE),
    Line("not swept", "warning", "a project is tried again", {**PROJECT, **CAUSE}),
    Line("tasks not counted", "warning", "for metrics; tried again", CAUSE),
    Line("events not swept", "warning", "tried again", CAUSE),
    Line("request ids not swept", "warning", "tried again", CAUSE),
    Line(
        "an event is missing",
        "error",
        "in the log of a project",
        {**PROJECT, "sequence": "integer"},
    ),
)
