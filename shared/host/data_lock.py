"""At most one process works on a data folder at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.host.private_files import located, make_folder, open_private

POLL_SECONDS = 0.05


class DataInUseError(Exception):
    """Another process has locked the data folder. The message is a sentence that names it."""

    def __init__(self, data_dir: Path, record: str) -> None:
        """`record` is what the owner of the lock wrote: its pid, a blank, its purpose."""
        pid, _, self.purpose = record.partition(" ")
        owner = f"process {pid} ({self.purpose})" if pid else "another process"
        super().__init__(f"The data in {data_dir} is in use by {owner}.")


@contextmanager
def lock(data_dir: Path, purpose: str, *, wait_for: str = "", timeout: float = 0) -> Iterator[None]:
    """Lock the data folder. The kernel releases the lock however this process ends.

    An owner whose purpose is `wait_for` is waited for, up to `timeout` seconds.
    Raises DataInUseError, and UnsafeFileError if other accounts can change the folder.
    """
    data_dir = located(data_dir)
    make_folder(data_dir)
    deadline = time.monotonic() + timeout
    with os.fdopen(open_private(data_dir / "lock", os.O_RDWR | os.O_CREAT), "r+") as file:
        while not _try_to_lock(file.fileno()):
            file.seek(0)
            use = DataInUseError(data_dir, file.read())
            if use.purpose != wait_for or time.monotonic() > deadline:
                raise use
            time.sleep(POLL_SECONDS)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()} {purpose}")
        file.flush()
        yield
        file.truncate(0)


def _try_to_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
