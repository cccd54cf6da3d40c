"""Constructs the task service: settings → pool → rules → servicer → server."""

import sys

from shared import service as process
from shared.auth.authenticator import Authenticator
from shared.auth.issuers import issuers
from shared.auth.key_sources import page_key
from shared.auth.verifier import Verifier
from shared.database.transaction import Database
from shared.events import retention
from shared.grpc_server.call_lines import CallLines
from shared.grpc_server.certificates import Certificates
from shared.grpc_server.server import Server, Service
from shared.grpc_server.tls import Port, agent_service, task_port
from shared.resources.pagination import Pager
from shared.settings import Settings
from tandem.event.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from tandem.task.v1.task_service_pb2_grpc import add_TaskServiceServicer_to_server
from task_service.access import ACCESS
from task_service.assignees import Assignees
from task_service.attempts.rules import AttemptRules
from task_service.backlog.rules import Backlog
from task_service.claims.rules import ClaimRules
from task_service.claims.waiting import Queues
from task_service.events.pulse import Pulse
from task_service.events.rules import EventRules
from task_service.events.servicer import EventServicer
from task_service.events.waiting import Waiters
from task_service.events.watching import Watching
from task_service.graph.rules import GraphRules
from task_service.heartbeats.rules import HeartbeatRules
from task_service.inputs.rules import InputRules
from task_service.leases.rules import LeaseRules
from task_service.servicer import TaskServicer
from task_service.sweep import rules as sweep
from task_service.tasks.rules import TaskRules
from task_service.tasks.waiting import WaitRules


def build(database: Database, settings: Settings) -> Server:
    """The server of the task service, not started yet. It asks the agent service at its address."""
    trusted = issuers(settings)
    files = task_port(settings).files
    assignees = Assignees(agent_service(settings))
    verifier, pulse = Verifier(trusted), Pulse(database)
    authenticator = Authenticator(
        database, verifier, provision=settings.jwt_provision == "first-call"
    )
    waits = WaitRules(database, authenticator, Waiters(database, pulse, authenticator))
    tasks = TaskServicer(
        TaskRules(database, assignees),
        waits,
        ClaimRules(database, authenticator, Queues(database, pulse, authenticator)),
        LeaseRules(database),
        GraphRules(database, assignees),
        HeartbeatRules(database),
        AttemptRules(database),
        InputRules(database),
        Pager(page_key(settings)),
    )
    watching = Watching(database, pulse, verifier)
    events = EventServicer(EventRules(database), watching)
    services = [
        Service("tandem.task.v1.TaskService", tasks, add_TaskServiceServicer_to_server),
        Service("tandem.event.v1.EventService", events, add_EventServiceServicer_to_server),
    ]
    closers = [watching.close, pulse.close, assignees.close, trusted.close]
    sources = None
    if settings.task_metrics_address:
        backlog = Backlog(database)
        sources = [watching.samples, sweep.samples, backlog.samples]
        closers.append(backlog.close)
    lines = CallLines(settings.log_sample, settings.log_slow_ms)
    tls = Certificates(files) if files else None
    return Server(
        services, authenticator, ACCESS, settings.pool_size, closers, sources, tls, lines=lines
    )


def addresses(settings: Settings) -> tuple[Port, str | None]:
    """The port of the calls, and the address of the metrics."""
    return task_port(settings), settings.task_metrics_address


if __name__ == "__main__":
    beside = retention.sweep_forever, sweep.sweep_forever
    sys.exit(process.main("tasks", build, addresses, *beside))
