"""The files in a data folder: no link is followed, and no other account can have changed them.

A file is written completely or not at all, and only its owner can read it, whatever the umask is.
"""

import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER_MODE = 0o755  # the account that PostgreSQL runs as may have to pass through
PRIVATE = 0o600
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Without O_NONBLOCK, a named pipe in the place of a file would be waited for.
SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

log = logging.getLogger("tandem.private_files")


class UnsafeFileError(Exception):
    """Another account can have changed, or read, what is used here. The message is a sentence."""


def located(folder: Path) -> Path:
    """The absolute path: links on the way to the folder are followed, it itself is none yet."""
    if folder.name in ("", ".."):
        return folder.resolve()
    return folder.parent.resolve() / folder.name


def make_folder(folder: Path) -> None:
    """Make the folder, and those above it, if it is missing; an empty one is closed to others.

    Raises UnsafeFileError, also if it has contents that others can have changed.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.exists() and not each.is_symlink():
            each.mkdir(FOLDER_MODE, exist_ok=True)
    with _opened(folder) as descriptor:
        _close_to_others(folder, descriptor)
    with open_folder(folder):
        pass


def _close_to_others(folder: Path, descriptor: int) -> None:
    """Take write permission from others, as a careless umask gave it, if there is nothing yet."""
    state = os.fstat(descriptor)
    mode = stat.S_IMODE(state.st_mode)
    if state.st_uid != os.geteuid() or not mode & OTHERS_WRITE or os.listdir(descriptor):
        return
    os.fchmod(descriptor, mode & ~OTHERS_WRITE)
    if os.listdir(descriptor):  # another account was quicker: it stays refused
        os.fchmod(descriptor, mode)
    else:
        log.warning("%s was empty and writable for others: it no longer is (chmod go-w)", folder)


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """The descriptor of a folder that only this account can change.

    Raises UnsafeFileError, and OSError if there is none.
    """
    with _opened(folder) as descriptor:
        _require_ours(folder, os.fstat(descriptor), OTHERS_WRITE, "go-w")
        yield descriptor


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    with _no_link(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_private(path: Path, flags: int) -> int:
    """The descriptor of a file of this account's, which is made with mode 0600 if `flags` say so.

    If others could read or change it, they no longer can. Raises UnsafeFileError and OSError.
    """
    descriptor = _open(path, flags)
    if os.fstat(descriptor).st_mode & OTHERS:
        os.fchmod(descriptor, PRIVATE)
    return descriptor


def read_private(path: Path) -> str:
    """The text in a file of this account's. Raises as open_private does."""
    with os.fdopen(open_private(path, os.O_RDONLY)) as file:
        return file.read()


def read_secret(path: Path) -> str:
    """The secret in a file. Raises UnsafeFileError also if others could read it; OSError."""
    with os.fdopen(_open(path, os.O_RDONLY)) as file:
        _require_ours(path, os.fstat(file.fileno()), OTHERS, "go=")
        return file.read()


def keep_private(path: Path, make: Callable[[], str]) -> str:
    """The secret in `path`; if there is none yet, `make` makes it, and it is kept (mode 0600).

    If several processes make one at the same time, all return the one that was kept. Raises
    UnsafeFileError and OSError.
    """
    with suppress(FileNotFoundError):
        return read_secret(path)
    with (
        open_folder(path.parent) as folder,
        _staged(folder, path, make()) as staging,
        suppress(FileExistsError),  # unlike a rename, a link never replaces a file
    ):
        os.link(staging, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    return read_secret(path)


def write_whole(path: Path, content: str) -> None:
    """Replace the file in one step, mode 0600. Raises UnsafeFileError and OSError."""
    with open_folder(path.parent) as folder, _staged(folder, path, content) as staging:
        os.rename(staging, path.name, src_dir_fd=folder, dst_dir_fd=folder)


@contextmanager
def _staged(folder: int, path: Path, content: str) -> Iterator[str]:
    """The name of a new file with this content, which is gone at the end if it is still there."""
    name = f".{path.name}-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY
    with os.fdopen(os.open(name, flags, PRIVATE, dir_fd=folder), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        yield name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _open(path: Path, flags: int) -> int:
    with open_folder(path.parent) as folder, _no_link(path):
        descriptor = os.open(path.name, flags | SAFELY, PRIVATE, dir_fd=folder)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise UnsafeFileError(f"{path} is not a file: remove it.")
        _require_ours(path, state, 0, "")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _no_link(path: Path) -> Iterator[None]:
    """Errors name the whole path, and a link is a sentence."""
    try:
        yield
    except OSError as error:
        if path.is_symlink():
            raise UnsafeFileError(f"{path} is a symbolic link: use what it points to.") from None
        error.filename = str(path)
        raise


def _require_ours(path: Path, state: os.stat_result, forbidden: int, remedy: str) -> None:
    if state.st_uid != os.geteuid():
        raise UnsafeFileError(
            f"{path} belongs to the account {state.st_uid}, and this is {os.geteuid()}: "
            "run as that account, or give it back (chown)."
        )
    if state.st_mode & forbidden:
        raise UnsafeFileError(
            f"{path} has the mode {stat.S_IMODE(state.st_mode):o}, so other accounts have access: "
            f"run chmod {remedy} {path}."
        )
