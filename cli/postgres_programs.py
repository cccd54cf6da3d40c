"""PostgreSQL's own programs for backups, which connect to a database by its URL."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from cli.console import CommandError
from cli.extra import needed_for


def program(name: str) -> Path:
    """The program: of the embedded PostgreSQL, else of the system. Raises CommandError."""
    with needed_for("PostgreSQL's programs"):
        from local.embedded_postgres.binaries import find_program
    found = find_program(name)
    if not found:
        raise CommandError(f"{name} was not found: install PostgreSQL, or requirements/local.txt.")
    return found


def started(name: str, *arguments: str, url: str = "", **pipes: int | IO[bytes]) -> "Program":
    """Start a program, on the database with this URL if it needs one."""
    environment = dict(os.environ)
    if url:
        parts = urlsplit(url)
        user, _, host = parts.netloc.rpartition("@")
        user, _, password = user.partition(":")
        place = parts._replace(netloc=f"{user}@{host}" if user else host)
        arguments = (f"--dbname={urlunsplit(place)}", *arguments)
        environment |= {"PGPASSWORD": unquote(password)} if password else {}
    command = [str(program(name)), *arguments]
    return Program(name, command, {"env": environment, "stdin": subprocess.DEVNULL, **pipes})


class Program:
    """A program that runs; leaving it before its end kills it."""

    def __init__(self, name: str, command: list[str], options: dict[str, Any]) -> None:
        self.name = name
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, **options)  # noqa: S603

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()
        self.process.wait()

    @property
    def output(self) -> IO[bytes]:
        """What it writes, if that was to be a pipe."""
        assert self.process.stdout
        return self.process.stdout

    def ended(self) -> bytes:
        """Wait for its end, and return what is left of its output.

        Raises CommandError with what it said if it has failed.
        """
        output, errors = self.process.communicate()
        if self.process.returncode:
            lines = errors.decode(errors="replace").strip().splitlines()
            reasons = [line for line in lines if "error" in line.lower()] or lines
            reason = reasons[0] if reasons else f"exit code {self.process.returncode}"
            raise CommandError(f"{self.name} has failed: {reason}")
        return output or b""
