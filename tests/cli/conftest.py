"""The command line, run in this process with an environment of its own."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import app
from tests.local.embedded_postgres.folders import reachable_folder, remove

PROGRAM = Path(sys.executable).with_name("tandem")
SECRET = "a secret of tests, which is long enough for HS256"


class Tandem:
    """`tandem` on one database."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(app, arguments, env={**self.environment, **environment})

    def says(self, *arguments: str, **environment: str) -> str:
        """What a command that succeeds prints."""
        result = self(*arguments, **environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refuses(self, *arguments: str, **environment: str) -> str:
        """The sentence of a command that cannot do what was asked."""
        result = self(*arguments, **environment)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return result.stderr


class Program(Tandem):
    """`tandem` as a process of its own, beside services that print in this one."""

    async def run(self, *arguments: str, **environment: str) -> tuple[int | None, str, str]:
        """Its exit code, and what it has printed as a result and besides."""
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *arguments,
            env={**os.environ, **self.environment, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()
        return process.returncode, stdout.decode(), stderr.decode()

    async def prints(self, *arguments: str, **environment: str) -> str:
        """What a command that succeeds prints."""
        code, stdout, stderr = await self.run(*arguments, **environment)
        assert code == 0, stderr
        return stdout

    async def says_why_not(self, *arguments: str, **environment: str) -> str:
        """The sentence of a command that cannot do what was asked."""
        code, stdout, stderr = await self.run(*arguments, **environment)
        assert (code, stdout) == (1, "")
        assert "Traceback" not in stderr
        return stderr


@pytest.fixture
def tandem(database_url: str, tmp_path: Path) -> Tandem:
    """On a migrated database, named by its URL."""
    return Tandem(
        {
            "TANDEM_DATABASE_URL": database_url,
            "TANDEM_DATA_DIR": str(tmp_path / "data"),
            "TANDEM_JWT_SECRET": SECRET,
        }
    )


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that is not there yet."""
    folder = reachable_folder()
    yield folder / "data"
    remove(folder / "data")
    folder.rmdir()
