"""Of which tests the processes count for coverage, if that is measured.

To trace a process nearly doubles what its start costs, and most start what others start as well:
only these run lines that no test runs in its own process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Tells a Python that starts to measure itself; coverage.py sets it.
VARIABLE = "COVERAGE_PROCESS_CONFIG"
MEASURED = (
    "tests/cli/",
    "tests/e2e/test_flows.py",
    "tests/local/",
    "tests/shared/test_service.py::test_it_ends_as_it_is_told",
    "tests/shared/test_stop.py",
)


@contextmanager
def measuring(test: str) -> Iterator[None]:
    """While the test runs: measure the processes that it starts if they count, or else do not."""
    config = None if test.startswith(MEASURED) else os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if config is not None:
            os.environ[VARIABLE] = config
