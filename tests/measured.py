"""What counts for coverage, if that is measured.

To trace a process nearly doubles what its start costs, and a third of what a test computes. Most
processes start what others start as well, and some tests only repeat what others run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
    "tests/shared/test_service.py::test_it_ends_as_it_is_told",
    "tests/shared/test_stop.py",
)

# Tests that make many calls of what others call, or look only at texts and at generated code.
NOT_MEASURED = (
    "tests/access/",
    "tests/agent_service/rooms/test_races.py",
    "tests/agent_service/test_paging_under_change.py",
    "tests/agent_service/test_races.py",
    "tests/client/test_exactly_once.py",
    "tests/e2e/",
    "tests/house/",
    "tests/migrations/test_interrupted.py",
    "tests/shared/auth/test_token_attacks.py",
    "tests/shared/resources/test_plans.py",
    "tests/task_service/tasks/test_races.py",
)


def stop_double(config: pytest.Config) -> None:
    """End what pytest-cov began for a process of xdist, and is about to begin again.

    Else this would go on whenever the other is paused.
    """
    if (plugin := config.pluginmanager.getplugin("_cov")) and plugin.cov_controller:
        plugin.cov_controller.pause()


@contextmanager
def measuring(test: str) -> Iterator[None]:
    """While the test runs: measure the processes that it starts if they count, or else do not."""
    config = None if test.startswith(MEASURED) else os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if config is not None:
            os.environ[VARIABLE] = config
