"""Which tests run in the same process, if `pytest -n` has several."""

from xdist.scheduler import LoadScopeScheduling

# Their files share services that run as processes, or many rows, which take seconds to have: in
# every other file each process that gets a test of it makes them anew.
GROUPS = {
    "tests/access/test_revocation.py": "four services",
    "tests/e2e/test_flows.py": "tandem up",
    "tests/e2e/test_readme.py": "tandem up",
    "tests/e2e/test_supervision.py": "tandem up",
    "tests/shared/resources/test_plans.py": "rows of lists",
    "tests/task_service/claims/test_plans.py": "rows of claims",
    "tests/task_service/events/test_plans.py": "rows of events",
    "tests/task_service/heartbeats/test_plans.py": "rows of heartbeats",
    "tests/task_service/sweep/test_plans.py": "rows of sweeps",
}


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Groups first, each in one process; then the other tests, to whichever process is free.

    These in their order, in which long ones are first.
    """

    def _split_scope(self, nodeid: str) -> str:
        return GROUPS.get(nodeid.partition("::")[0], nodeid)
