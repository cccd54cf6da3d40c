"""Cleans up after a run of the tests, however it ends: a process that outlives even `kill -9`.

Everything that a run starts can be recognised: by the name of the run's folder in its environment,
or by a working directory within that folder.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from shared.host.embedded_postgres import ID_FILE, SYSTEM_ROOT

FOLDER_VARIABLE = "RUN_OF_TANDEM_TESTS"
"""The environment variable with the folder of the run: what tests put there is removed."""

ROOT = Path(__file__).parents[1]
QUIT_SECONDS = 5.0
MEMORY = Path("/dev/shm")  # noqa: S108
ROOM = 4 << 30  # bytes, of which a run uses a fraction


class Cleanup:
    """The process that cleans up, and the folder that it removes."""

    def __init__(self) -> None:
        """Make the folder, which every account can enter, and start the process."""
        self.folder = Path(tempfile.mkdtemp(prefix="tandem-tests-", dir=_in_memory()))
        self.folder.chmod(0o755)
        os.environ[FOLDER_VARIABLE] = str(self.folder)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cleanup", self.folder],
            cwd=ROOT,
            env={name: v for name, v in os.environ.items() if not name.startswith("COV")},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self) -> None:
        """Clean up now."""
        del os.environ[FOLDER_VARIABLE]
        self._process.communicate()


def _in_memory() -> Path | None:
    """A place whose files are in memory, if it has room and TMPDIR names no other one.

    To copy a database there is a tenth of the work, since no file system on a disk notes its files.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return None
    found = os.statvfs(MEMORY)
    room = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    return MEMORY if room >= ROOM and not found.f_flag & os.ST_NOEXEC else None


def clean(folder: Path) -> None:
    """End every process of the run, and remove the folder and what belongs to it elsewhere."""
    elsewhere = [SYSTEM_ROOT / record.read_text() for record in folder.rglob(ID_FILE)]
    places = [folder, *elsewhere]
    while processes := [each for each in psutil.process_iter() if _belongs(each, places)]:
        end(processes)
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


def end(processes: list[psutil.Process]) -> None:
    """End processes; those of PostgreSQL so that they give their shared memory back."""
    for process in processes:
        with suppress(psutil.Error):
            postgres = process.name() == "postgres"
            process.send_signal(signal.SIGQUIT if postgres else signal.SIGKILL)
    for process in psutil.wait_procs(processes, timeout=QUIT_SECONDS)[1]:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=QUIT_SECONDS)


def _belongs(process: psutil.Process, places: list[Path]) -> bool:
    """Whether the process is of the run; we are not, nor is the one that waits for us."""
    try:
        if process.pid in (os.getpid(), os.getppid()) or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(FOLDER_VARIABLE) == str(places[0]):
            return True
        return any(Path(process.cwd()).is_relative_to(place) for place in places)
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.stdin.read()  # nothing is written: this returns when the run has closed the pipe, or ended
    clean(Path(sys.argv[1]))
