"""Every metric that is published, in the order of docs/metrics.md, which is made of this.

Labels have few values, all known beforehand: no project, agent, user, address or text of a client
is ever one. Calls have the names that go-grpc-prometheus gave them, with its spelling of codes:
dashboards and alerts for gRPC servers know these.
"""

from shared.metrics.instruments import Metric

METRICS: list[Metric] = []
METHOD = ("grpc_type", "grpc_service", "grpc_method")

# Up to a GetAgent that waits for nothing; then what it takes to wait for locks (5 s), a connection
# (10 s), a unit of work (30 s), and a call that is parked (60 s).
CALL_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# A lease waits for QUEUE_TIMEOUT_SECONDS at most.
WAIT_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Timers are exact to a millisecond or two.
LAG_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# The limits of load that a call can be refused by.
LIMITS = (
    *("calls", "answers", "message", "message_size", "metadata", "streams", "parked"),
    *("api_keys", "new_users", "request_ids"),
)
# Why a unit of work on the database ended without an answer.
CONFLICT_CAUSES = ("deadlock", "serialization", "changed_plan", "lock_timeout")
OUTAGE_CAUSES = ("connection", "read_only", "timeout")


def _metric(kind: str, name: str, meaning: str, *labels: str) -> Metric:
    metric = Metric(name, kind, meaning, labels)
    METRICS.append(metric)
    return metric


STARTED = _metric("counter", "grpc_server_started_total", "Calls that have begun.", *METHOD)
HANDLED = _metric(
    "counter",
    "grpc_server_handled_total",
    "Calls that have ended, by their status code and, if they were refused, the reason. "
    "All methods that do not exist are `unknown`.",
    *METHOD,
    "grpc_code",
    "reason",
)
HANDLING = _metric(
    "histogram",
    "grpc_server_handling_seconds",
    "How long unary calls took, from their metadata to their answers, the time parked included. "
    "Streams last as long as clients keep them, and are not in it.",
    *METHOD,
)
REFUSED = _metric(
    "counter",
    "tandem_calls_refused_total",
    "Calls that were refused because of load, by the limit that was reached.",
    "limit",
)
IN_FLIGHT = _metric(
    "gauge",
    "tandem_calls_in_flight",
    "Calls at work, which hold a place: `work` on the database, and `probe` (health, reflection).",
    "kind",
)
PLACES = _metric(
    "gauge",
    "tandem_calls_in_flight_limit",
    "How many calls can be at work: then, and for one caller at half of it, calls are refused.",
    "kind",
)
WAITING = _metric(
    "gauge",
    "tandem_calls_waiting",
    "Calls that hold no place: on their `client`, for its message or until it takes the answer, or "
    "for a `turn`, to go on after they were parked.",
    "on",
)
PARKED = _metric(
    "gauge", "tandem_calls_parked", "Calls that have parked and not ended yet (long polls)."
)
STREAMS = _metric(
    "gauge",
    "tandem_streams_open",
    "Open streams: a `watch` of events, or a `probe` (health, reflection).",
    "kind",
)
DATABASE_UP = _metric(
    "gauge",
    "tandem_database_up",
    "1 if the database answered and took changes at the latest look, which is every second.",
)
POOL_SIZE = _metric("gauge", "tandem_database_pool_size", "How many connections the pool can have.")
POOL_CONNECTIONS = _metric(
    "gauge",
    "tandem_database_pool_connections",
    "Connections that are `leased` to a unit of work, or `idle`.",
    "state",
)
POOL_WAITING = _metric(
    "gauge", "tandem_database_pool_waiting", "Units of work that wait for a connection."
)
POOL_WAIT = _metric(
    "histogram",
    "tandem_database_pool_wait_seconds",
    "How long units of work waited for a connection, of those only that had to wait.",
)
CONFLICTS = _metric(
    "counter",
    "tandem_database_conflicts_total",
    "Attempts of units of work that met a conflict. They are tried again, three times at most; a "
    "`lock_timeout` is not.",
    "cause",
)
OUTAGES = _metric(
    "counter",
    "tandem_database_outages_total",
    "Units of work that ended because of the database: a lost `connection`, a `timeout` (none was "
    "free, or no answer came), a server that is `read_only`.",
    "cause",
)
LOOP_LAG = _metric(
    "histogram",
    "tandem_event_loop_lag_seconds",
    "How late a timer of the event loop is, ten times a second: calls wait as long.",
)
READY = _metric(
    "gauge",
    "tandem_ready",
    "1 if the health check of the process answers SERVING; 0 without the database, or at a stop.",
)
BUILD = _metric(
    "gauge",
    "tandem_build_info",
    "1, with what runs in the labels.",
    "service",
    "version",
    "python",
    "schema_revision",
)
TASKS = _metric(
    "gauge",
    "tandem_tasks",
    "Tasks of all projects. Exact up to 10,000 of a status; above that, an estimate of the "
    "database, and at least 10,000.",
    "status",
)
TASKS_READY = _metric(
    "gauge",
    "tandem_tasks_ready",
    "Pending tasks that an agent could claim now, among the 10,000 pending ones that are oldest.",
)
QUEUE_AGE = _metric(
    "gauge",
    "tandem_task_queue_age_seconds",
    "Since when the first of these is ready; 0 if there is none.",
)
LEASES = _metric("gauge", "tandem_leases", "Leases of all projects; 100,000 are looked at.")
LEASES_EXPIRED = _metric(
    "gauge",
    "tandem_leases_expired",
    "Leases of these that have expired, and that no sweep has taken back yet.",
)
TASKS_READ = _metric(
    "gauge",
    "tandem_tasks_read_timestamp_seconds",
    "When the figures about tasks and leases were read; none of them is there while "
    "the database is away.",
)
SWEPT = _metric(
    "counter",
    "tandem_sweep_done_total",
    "What this process has swept: `leases_expired`, `tasks_cancelled`, `tasks_shared_again`, "
    "`agents_gone_offline`.",
    "chore",
)
SWEEP_FAILURES = _metric(
    "counter", "tandem_sweep_failures_total", "Sweeps that failed, as a whole or in a project."
)
SWEEP_TIME = _metric(
    "gauge",
    "tandem_sweep_last_success_timestamp_seconds",
    "When this process last looked for everything that was due; 0 before the first time.",
)
LOGS_WATCHED = _metric(
    "gauge", "tandem_event_logs_watched", "Logs of events that this process follows for watches."
)
LOG_LAG = _metric(
    "gauge",
    "tandem_event_log_lag_events",
    "By how many events watches are behind the latest one that is known, in the log that is worst.",
)

PROCESS = (
    Metric("process_cpu_seconds_total", "counter", "CPU time, of user and system."),
    Metric("process_resident_memory_bytes", "gauge", "Resident memory."),
    Metric("process_virtual_memory_bytes", "gauge", "Virtual memory."),
    Metric("process_start_time_seconds", "gauge", "When the process started."),
    Metric("process_open_fds", "gauge", "Open file descriptors."),
    Metric("process_max_fds", "gauge", "The most file descriptors that it can open."),
)
"""Those that every process has, where there is /proc; prometheus_client names and reads them."""
