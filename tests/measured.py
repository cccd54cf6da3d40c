"""What counts for coverage, if that is measured.

To trace a process nearly doubles what its start costs, and a third of what a test computes. Most
processes start what others start as well, and some tests only repeat what others run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import greenlet
import pytest

# Tells a Python that starts to measure itself; coverage.py sets it.
VARIABLE = "COVERAGE_PROCESS_CONFIG"
# Tests whose processes run lines that no test runs in its own process.
MEASURED = (
    "tests/cli/",
    "tests/e2e/test_flows.py",
    "tests/e2e/test_supervision.py::test_a_service_that_cannot_start",
    "tests/e2e/test_supervision.py::test_whoever_is_killed_is_back_with_every_row[postgres]",
    "tests/local/",
    "tests/shared/test_logging.py",
    "tests/shared/test_stop.py",
)

# Tests that make many calls of what others call, or look only at texts and at generated code: no
# line is run by them alone.
NOT_MEASURED = (
    "tests/access/",
    "tests/agent_service/agents/test_page_tokens.py",
    "tests/agent_service/api_keys/test_last_used.py",
    "tests/agent_service/rooms/test_races.py",
    "tests/agent_service/test_paging_under_change.py",
    "tests/agent_service/test_races.py",
    "tests/client/test_exactly_once.py",
    "tests/agent_service/users/test_races.py",
    "tests/e2e/",
    "tests/house/",
    "tests/migrations/doctor/test_dry_run.py",
    "tests/migrations/test_data_loss.py",
    "tests/migrations/test_history.py",
    "tests/migrations/test_interrupted.py",
    "tests/migrations/test_round_trip.py",
    "tests/migrations/versions/",
    "tests/shared/auth/test_token_attacks.py",
    "tests/shared/resources/test_plans.py",
    "tests/shared/resources/test_struct_json.py",
    "tests/shared/test_secrets.py",
    "tests/task_service/tasks/test_races.py",
)
# Tests that migrate, for which SQLAlchemy switches between greenlets. To look up the current one
# at every call is half of what it costs to measure.
WITH_GREENLETS = ("tests/cli/", "tests/migrations/", "tests/shared/database/test_outages.py")


def pause(config: pytest.Config) -> None:
    """Measure this process no more, unless it is resumed."""
    if controller := _controller(config):
        controller.pause()


@contextmanager
def collecting(config: pytest.Config) -> Iterator[None]:
    """While tests are collected: measure the first of the processes that all collect the same."""
    controller = _controller(config)
    first = getattr(config, "workerinput", {}).get("workerid", "gw0") == "gw0"
    with nullcontext() if first or not controller else _paused(controller):
        yield


@contextmanager
def measuring(test: str, config: pytest.Config) -> Iterator[None]:
    """While the test runs: measure this process, and those that it starts, if they count."""
    variable = None if test.startswith(MEASURED) else os.environ.pop(VARIABLE, None)
    controller = _controller(config)
    try:
        with _as_it_counts(test, controller) if controller else nullcontext():
            yield
    finally:
        if variable is not None:
            os.environ[VARIABLE] = variable


@contextmanager
def _as_it_counts(test: str, controller: Any) -> Iterator[None]:
    if test.startswith(NOT_MEASURED):
        with _paused(controller):
            yield
    elif test.startswith(WITH_GREENLETS):
        yield
    else:
        with _without_greenlets(controller):
            yield


@contextmanager
def _without_greenlets(controller: Any) -> Iterator[None]:
    """Measure as if there were none; a switch to one fails, since their lines would be mixed up."""
    collector = controller.cov._collector
    current = collector.concur_id_func
    with _paused(controller):
        collector.concur_id_func = None
    before = greenlet.settrace(_refuse)
    try:
        yield
    finally:
        greenlet.settrace(before)
        with _paused(controller):
            collector.concur_id_func = current


def _refuse(*_: object) -> None:
    raise AssertionError("a test that migrates belongs to WITH_GREENLETS")


@contextmanager
def _paused(controller: Any) -> Iterator[None]:
    controller.pause()
    try:
        yield
    finally:
        controller.resume()


def _controller(config: pytest.Config) -> Any:
    """What measures this process, of pytest-cov; None if nothing does."""
    plugin = config.pluginmanager.getplugin("_cov")
    return plugin and plugin.cov_controller
