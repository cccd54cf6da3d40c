"""Processes that are forked from one that has everything imported, which takes a second each time.

Python's fork server starts with the first of them and ends with the tests. It only imports, and
opens no connection, so that its children share nothing but code.
"""

from multiprocessing import get_context

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["agent_service.__main__", "task_service.__main__", "tests.migrations.migrators"]
)
