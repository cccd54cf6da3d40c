"""How a process finds the embedded PostgreSQL that runs on a data folder.

`local/embedded_postgres` runs the server and writes the files that are named here. A service only
reads them, for which it needs no more than the standard library.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from shared.host.private_files import located, read_private, read_secret

HOST = "127.0.0.1"
DATABASE = "tandem"

CLUSTER = "postgres"
PORT_FILE = f"{CLUSTER}.port"
ID_FILE = f"{CLUSTER}.id"
"""Names the folder in SYSTEM_ROOT that has the cluster, if that is not in the data folder."""

SYSTEM_ROOT = Path("/var/lib/tandem")
OWNER_FILE = "data_dir"
"""Names, in a folder of SYSTEM_ROOT, the data folder that the cluster belongs to."""

PID_FILE = "postmaster.pid"
LONGEST_RECORD = 4096  # bytes of a file in the cluster, which is not this account's
READY = "ready"  # what a postmaster writes about itself once it accepts connections


@dataclass(frozen=True)
class Login:
    """A role of the embedded PostgreSQL, and the file in the data folder that has its password."""

    role: str
    password_file: str


OWNER = Login("tandem", f"{CLUSTER}.password")
"""It made the cluster, owns the tables and migrates them; it may do everything."""

SERVICE = Login("tandem_service", f"{CLUSTER}.service.password")
"""The services connect as this role, which may only read and write rows."""


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be started or found. The message is a sentence."""


@dataclass(frozen=True)
class PidFile:
    """What `postmaster.pid` of a cluster says. A line that is not written yet reads as empty."""

    pid: int
    port: str
    state: str


def running_url(data_dir: Path, login: Login = SERVICE) -> str | None:
    """The URL of the server that runs on the data in `data_dir`; None if none is ready.

    It holds the password: never log it. Raises EmbeddedPostgresError, UnsafeFileError if another
    account can have changed a file, and OSError if one may not be read.
    """
    data_dir = located(data_dir)
    cluster = folder_of_cluster(data_dir) / CLUSTER
    found = read_pid_file(cluster)
    if not found or found.state != READY or not _is_postmaster(found.pid, cluster):
        return None
    return server_url(login, read_secret(data_dir / login.password_file), found.port)


def server_url(login: Login, password: str, port: str) -> str:
    """The URL of an embedded server."""
    return f"postgresql://{login.role}:{password}@{HOST}:{port}/{DATABASE}"


def folder_of_cluster(data_dir: Path) -> Path:
    """The folder that has, or will have, the cluster: `data_dir`, or one in SYSTEM_ROOT.

    Raises EmbeddedPostgresError if `data_dir` is a copy of the one that the cluster belongs to.
    """
    record = data_dir / ID_FILE
    if not record.exists():
        return data_dir
    folder = SYSTEM_ROOT / read_private(record)
    owner = folder / OWNER_FILE
    if owner.exists():
        _require_not_a_copy(data_dir, Path(read_private(owner)))
    return folder


def read_pid_file(cluster: Path) -> PidFile | None:
    """None if there is none, or nothing in it yet."""
    lines = read_record(cluster, PID_FILE).splitlines()
    lines += [""] * (8 - len(lines))
    return PidFile(int(lines[0]), lines[3], lines[7].strip()) if lines[0].isdigit() else None


def read_record(cluster: Path, name: str) -> str:
    """What a small file in the cluster says; "" if there is none.

    The cluster may belong to another account, which could put a link or a pipe there.
    """
    try:
        folder = os.open(cluster, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return file.read(LONGEST_RECORD).decode(errors="replace") if is_file else ""
    except FileNotFoundError:
        return ""
    finally:
        os.close(folder)


def _require_not_a_copy(data_dir: Path, owner: Path) -> None:
    """A copied data folder names the same cluster as its original: they never share it silently."""
    original = owner / ID_FILE
    ours = data_dir / ID_FILE
    if (
        original.exists()
        and not original.samefile(ours)
        and read_private(original) == read_private(ours)
    ):
        raise EmbeddedPostgresError(
            f"{data_dir} is a copy of {owner}, and the database belongs to the original: "
            "use another TANDEM_DATA_DIR."
        )


def _is_postmaster(pid: int, cluster: Path) -> bool:
    """Whether this process runs on the cluster.

    A killed postmaster leaves its pid file, and another process may have its pid by now. Whatever
    listens on the port then must not be offered the password.
    """
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return not Path("/proc/self").exists() and _exists(pid)  # macOS has no /proc
    return os.fsencode(cluster) in arguments


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
