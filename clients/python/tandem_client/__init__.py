"""Calls Tandem: tokens and API keys, errors by reason, pages, retries that change nothing twice.

`connect` is where to begin; `tandem_client.sync` has the same for threads. Messages are in
`tandem.agent.v1`, `tandem.task.v1` and `tandem.event.v1`, which this package ships as they were
generated.
"""

from tandem.agent.v1.error_reason_pb2 import ErrorReason
from tandem_client.client import Tandem, connect
from tandem_client.errors import FieldViolation, PreconditionViolation, Resource, TandemError
from tandem_client.events import Batch, SnapshotBegins, SnapshotComplete, SnapshotPart
from tandem_client.leases import CancelRequested, Draining, LeaseLost
from tandem_client.pages import Pages
from tandem_client.retries import Retries
from tandem_client.tls import Tls
from tandem_client.tokens import ApiKey, Credentials, Token
from tandem_client.watch import Watch
from tandem_client.work import Handler, PermanentError, RetryError, Work
from tandem_client.worker import Worker

__all__ = [
    "ApiKey",
    "Batch",
    "CancelRequested",
    "Credentials",
    "Draining",
    "ErrorReason",
    "FieldViolation",
    "Handler",
    "LeaseLost",
    "Pages",
    "PermanentError",
    "PreconditionViolation",
    "Resource",
    "Retries",
    "RetryError",
    "SnapshotBegins",
    "SnapshotComplete",
    "SnapshotPart",
    "Tandem",
    "TandemError",
    "Tls",
    "Token",
    "Watch",
    "Work",
    "Worker",
    "connect",
]
