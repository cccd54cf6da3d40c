"""How a process finds the embedded PostgreSQL that runs on a data folder.

`local/embedded_postgres` runs the server and writes the files that are named here. A service only
reads them, for which it needs no more than the standard library.
"""

import os
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
ROLE = "tandem"
DATABASE = "tandem"

CLUSTER = "postgres"
PASSWORD_FILE = f"{CLUSTER}.password"
PORT_FILE = f"{CLUSTER}.port"
ID_FILE = f"{CLUSTER}.id"
"""Names the folder in SYSTEM_ROOT that has the cluster, if that is not in the data folder."""

SYSTEM_ROOT = Path("/var/lib/tandem")
OWNER_FILE = "data_dir"
"""Names, in a folder of SYSTEM_ROOT, the data folder that the cluster belongs to."""

READY = "ready"  # what a postmaster writes about itself once it accepts connections


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be started or found. The message is a sentence."""


@dataclass(frozen=True)
class PidFile:
    """What `postmaster.pid` of a cluster says. A line that is not written yet reads as empty."""

    pid: int
    port: str
    state: str


def running_url(data_dir: Path) -> str | None:
    """The URL of the server that runs on the data in `data_dir`; None if none is ready.

    It holds the password: never log it. Raises EmbeddedPostgresError, and OSError if a file may not
    be read.
    """
    data_dir = data_dir.resolve()
    cluster = folder_of_cluster(data_dir) / CLUSTER
    found = read_pid_file(cluster)
    if not found or found.state != READY or not _is_postmaster(found.pid, cluster):
        return None
    return server_url((data_dir / PASSWORD_FILE).read_text(), found.port)


def server_url(password: str, port: str) -> str:
    """The URL of an embedded server."""
    return f"postgresql://{ROLE}:{password}@{HOST}:{port}/{DATABASE}"


def folder_of_cluster(data_dir: Path) -> Path:
    """The folder that has, or will have, the cluster: `data_dir`, or one in SYSTEM_ROOT.

    Raises EmbeddedPostgresError if `data_dir` is a copy of the one that the cluster belongs to.
    """
    record = data_dir / ID_FILE
    if not record.exists():
        return data_dir
    folder = SYSTEM_ROOT / record.read_text()
    owner = folder / OWNER_FILE
    if owner.exists():
        _require_not_a_copy(data_dir, Path(owner.read_text()))
    return folder


def read_pid_file(cluster: Path) -> PidFile | None:
    """None if there is none, or nothing in it yet."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    lines += [""] * (8 - len(lines))
    return PidFile(int(lines[0]), lines[3], lines[7].strip()) if lines[0].isdigit() else None


def _require_not_a_copy(data_dir: Path, owner: Path) -> None:
    """A copied data folder names the same cluster as its original: they never share it silently."""
    original = owner / ID_FILE
    ours = data_dir / ID_FILE
    if (
        original.exists()
        and not original.samefile(ours)
        and original.read_text() == ours.read_text()
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
