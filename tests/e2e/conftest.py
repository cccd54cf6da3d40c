"""Data folders that `tandem up` runs on."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.supervised import TANDEM, Run, Surroundings
from tests.local.embedded_postgres.folders import copy, hasten, reachable_folder, remove


@pytest.fixture(scope="session")
def migrated() -> Iterator[Path]:
    """A data folder with a migrated database, to be copied."""
    folder = reachable_folder()
    environment = {**os.environ, "TANDEM_DATA_DIR": str(folder / "data")}
    subprocess.run([TANDEM, "db", "upgrade"], env=environment, check=True)
    hasten(folder / "data")
    yield folder / "data"
    remove(folder / "data")
    folder.rmdir()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Surroundings]:
    """Nothing there yet."""
    with _surroundings(tmp_path) as surroundings:
        yield surroundings


@pytest.fixture
def tandem(migrated: Path, empty: Surroundings) -> Surroundings:
    """A stopped database at the newest revision."""
    copy(migrated, empty.data_dir)
    return empty


@pytest.fixture(scope="session")
def running(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A `tandem up` that tests share: they neither end nor kill any part of it."""
    with _surroundings(tmp_path_factory.mktemp("running")) as surroundings:
        copy(migrated, surroundings.data_dir)
        with surroundings.up() as run:
            yield run.ready()
            run.stop()


@contextmanager
def _surroundings(logs: Path) -> Iterator[Surroundings]:
    folder = reachable_folder()
    yield Surroundings(folder / "data", logs)
    remove(folder / "data")
    folder.rmdir()
