"""Data folders that vanish with everything that runs on them."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import asyncpg

from local.embedded_postgres.home import existing_home
from local.embedded_postgres.processes import processes_in
from tests.cleanup import FOLDER_VARIABLE, end


def reachable_folder() -> Path:
    """A new folder that every account can enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(dir=os.environ[FOLDER_VARIABLE]))
    folder.chmod(0o755)
    return folder


def remove(data_dir: Path) -> None:
    """End what still runs on the data, and remove the data wherever it is."""
    if home := existing_home(data_dir):
        end(list(processes_in(home.cluster)))
        shutil.rmtree(home.cluster)
        if home.folder != home.data_dir:
            shutil.rmtree(home.folder)
    shutil.rmtree(data_dir, ignore_errors=True)


def copy(original: Path, data_dir: Path) -> None:
    """Copy a data folder whose server is stopped; the copy's server chooses a port of its own."""
    subprocess.run(["cp", "-a", original, data_dir], check=True)
    (data_dir / "postgres.port").unlink()


def hasten(data_dir: Path) -> None:
    """Let its server not wait for the disk: tests kill servers, but never the machine."""
    home = existing_home(data_dir)
    assert home
    with (home.cluster / "postgresql.auto.conf").open("a") as settings:
        settings.write("fsync = off\n")


def ask(url: str, statement: str, *arguments: object) -> object:
    """The one value that a statement answers."""

    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close()

    return asyncio.run(run())
