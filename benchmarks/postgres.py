"""The PostgreSQL of a benchmark, which is gone after it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.embedded_postgres import Server, start


@contextmanager
def temporary() -> Iterator[Server]:
    """A server on a data folder of its own, `home.data_dir`."""
    folder = Path(tempfile.mkdtemp(prefix="tandem-bench-"))
    postgres = start(folder)
    try:
        yield postgres
    finally:
        postgres.stop(at_once=True)
        shutil.rmtree(postgres.home.folder)
        shutil.rmtree(folder, ignore_errors=True)
