"""Data folders that `tandem up` runs on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.supervised import TANDEM, Surroundings
from tests.local.embedded_postgres.folders import copy, reachable_folder, remove


@pytest.fixture(scope="session")
def migrated() -> Iterator[Path]:
    """A data folder with a migrated database, to be copied."""
    folder = reachable_folder()
    environment = {**os.environ, "TANDEM_DATA_DIR": str(folder / "data")}
    subprocess.run([TANDEM, "db", "upgrade"], env=environment, check=True)
    yield folder / "data"
    remove(folder / "data")
    folder.rmdir()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Surroundings]:
    """Nothing there yet."""
    folder = reachable_folder()
    yield Surroundings(folder / "data", tmp_path)
    remove(folder / "data")
    folder.rmdir()


@pytest.fixture
def tandem(migrated: Path, empty: Surroundings) -> Surroundings:
    """A stopped database at the newest revision."""
    copy(migrated, empty.data_dir)
    return empty
