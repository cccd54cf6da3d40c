"""One owner of a data folder at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.05


class DataInUseError(Exception):
    """Another process owns the data folder. The message is a sentence that names it."""

    def __init__(self, data_dir: Path, record: str) -> None:
        pid, _, self.purpose = record.partition(" ")
        holder = f"process {pid} ({self.purpose})" if pid else "another process"
        super().__init__(f"The data in {data_dir} is in use by {holder}.")


@contextmanager
def hold(data_dir: Path, purpose: str, *, outwait: str = "", patience: float = 0) -> Iterator[None]:
    """Own the data folder; the kernel takes the lock back however this process ends.

    A holder whose purpose is `outwait` is waited for, up to `patience` seconds.
    Raises DataInUseError.
    """
    data_dir = data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with (data_dir / "lock").open("a+") as file:
        while not _locked(file.fileno()):
            file.seek(0)
            use = DataInUseError(data_dir, file.read())
            if use.purpose != outwait or time.monotonic() > deadline:
                raise use
            time.sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(f"{os.getpid()} {purpose}")
        file.flush()
        yield
        file.truncate(0)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
