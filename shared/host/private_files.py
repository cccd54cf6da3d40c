"""Small files: written completely or not at all, and readable by their owner only."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def keep_private(path: Path, make: Callable[[], str]) -> str:
    """The secret in `path`; if there is none yet, `make` makes it, and it is kept (mode 0600).

    If several processes make one at the same time, all return the one that was kept.
    """
    if not path.exists():
        staging = _staged(path, make())
        try:
            os.link(staging, path)  # unlike a rename, it never replaces a file
        except FileExistsError:
            pass
        finally:
            staging.unlink()
    return path.read_text()


def write_whole(path: Path, content: str) -> None:
    """Replace the file in one step, mode 0600."""
    _staged(path, content).rename(path)


def _staged(path: Path, content: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return Path(name)
