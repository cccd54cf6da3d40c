"""Keeps all data of a database in a file, and brings it back into an empty one."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

from cli import queries, schema
from cli.console import CommandError, say
from cli.database import NotMigratedError, run
from cli.postgres_programs import started
from migrations.history import REVISIONS

# The roles are those of the database that it is restored into.
DUMP = ("--format=custom", "--no-owner", "--no-privileges", "--lock-wait-timeout=60s")
AS_SQL = ("--no-owner", "--no-privileges", "--file=-")
REVISION = re.compile(rb"^COPY public\.alembic_version \(version_num\) FROM stdin;\n(\w+)\n", re.M)
# The end of a file, which pg_restore does not look at: a SHA-256 of what is before it follows.
SEAL = b"\nbackup of Tandem, SHA-256: "
DIGEST_BYTES = 32
CHUNK_BYTES = 1024 * 1024
SAY_EVERY_BYTES = 256 * CHUNK_BYTES
# It runs in the transaction that restores, in which the names of tables have no schema by default.
NEW_LOGS = f"SET LOCAL search_path = public;\n{queries.NEW_LOG_IDS};\n"


def backup(url: str, file: Path) -> str:
    """Write the database, as it is at one moment, into a new file; return its revision.

    The file appears when it is whole and has been read through. Raises CommandError if it exists,
    or if that fails.
    """
    revision = schema.current(url)
    if not revision:
        raise NotMigratedError
    _require_new(file)
    with _published(file) as partial:
        with started("pg_dump", *DUMP, f"--file={partial}", url=url) as dump:
            dump.ended()
        say(f"Reading {partial.stat().st_size / 1e6:,.1f} MB through")
        with started("pg_restore", *AS_SQL, str(partial), stdout=subprocess.PIPE) as reading:
            _pass_on(reading.output, None)
            reading.ended()
        with partial.open("ab") as end:
            end.write(SEAL + _digest(partial, partial.stat().st_size))
            end.flush()
            os.fsync(end.fileno())
    return revision


def restore(url: str, file: Path) -> str:
    """Bring a backup into a database without tables, whole or not at all; return its revision.

    Each log of events becomes another one in the same transaction: clients notice that what came
    after the backup is lost. Raises CommandError, with nothing changed.
    """
    revision = _revision(file)
    if revision not in REVISIONS:
        raise CommandError(f"{file} is of revision {revision}, which is newer than this Tandem.")
    if run(url, lambda connection: connection.fetchval(queries.HAS_TABLES)):
        raise CommandError(
            "Nothing was changed: the database has tables. Restore into an empty one; for the "
            "embedded PostgreSQL, move the data folder away, or set TANDEM_DATA_DIR to a new one."
        )
    options = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null")
    with (
        started("pg_restore", *AS_SQL, str(file), stdout=subprocess.PIPE) as reading,
        started("psql", *options, url=url, stdin=subprocess.PIPE) as writing,
    ):
        target = writing.process.stdin
        assert target
        with suppress(BrokenPipeError):  # psql has failed, and says why
            target.write(b"BEGIN;\n")
            _pass_on(reading.output, target)
            reading.ended()  # or there is no COMMIT
            target.write(f"{NEW_LOGS}COMMIT;\n".encode())
        writing.ended()
    return revision


def _revision(file: Path) -> str:
    """The revision of the schema in a backup. Raises CommandError if it is none, or not whole."""
    _require_whole(file)
    arguments = (*AS_SQL, "--data-only", "--table=alembic_version", str(file))
    with started("pg_restore", *arguments, stdout=subprocess.PIPE) as reading:
        found = REVISION.search(reading.ended())
    if not found:
        raise CommandError(f"{file} is not a backup of Tandem.")
    return found[1].decode()


def _require_whole(file: Path) -> None:
    """Raise CommandError if the file is not as it was written: cut off, or altered."""
    content, seal = file.stat().st_size - len(SEAL) - DIGEST_BYTES, b""
    if content > 0:
        with file.open("rb") as opened:
            opened.seek(content)
            seal = opened.read()
    if not seal.startswith(SEAL):
        raise CommandError(f"{file} is not a backup of Tandem, or its end is missing.")
    if seal != SEAL + _digest(file, content):
        raise CommandError(f"{file} is not as it was written: its checksum is another one.")


def _digest(file: Path, size: int) -> bytes:
    """The SHA-256 of the first bytes of a file."""
    digest = sha256()
    with file.open("rb") as opened:
        while size and (chunk := opened.read(min(size, CHUNK_BYTES))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.digest()


def _pass_on(source: IO[bytes], target: IO[bytes] | None) -> None:
    """Read everything, and write it if there is a target."""
    passed = 0
    while chunk := source.read(CHUNK_BYTES):
        if target:
            target.write(chunk)
        passed += len(chunk)
        if passed // SAY_EVERY_BYTES > (passed - len(chunk)) // SAY_EVERY_BYTES:
            say(f"{passed / 1e6:,.0f} MB of SQL")


def _require_new(file: Path) -> None:
    if file.exists():
        raise CommandError(f"{file} exists: name another file, or move it away.")


@contextmanager
def _published(file: Path) -> Iterator[Path]:
    """A file that only its owner can read, and which gets its name when the block has succeeded."""
    with tempfile.NamedTemporaryFile(prefix=f"{file.name}.", dir=file.parent) as partial:
        yield Path(partial.name)
        try:
            os.link(partial.name, file)
        except FileExistsError:
            _require_new(file)
    folder = os.open(file.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
