"""A data folder of its own for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.embedded_postgres import start
from tests.local.embedded_postgres.folders import copy, hasten, reachable_folder, remove


@pytest.fixture
def empty_data_dir() -> Iterator[Path]:
    """A data folder that is not there yet."""
    folder = reachable_folder()
    yield folder / "data"
    remove(folder / "data")
    folder.rmdir()


@pytest.fixture(scope="session")
def original() -> Iterator[Path]:
    """A data folder with a stopped server in it, to be copied, which is faster than to be made."""
    folder = reachable_folder()
    start(folder / "data").stop()
    hasten(folder / "data")
    yield folder / "data"
    remove(folder / "data")
    folder.rmdir()


@pytest.fixture
def data_dir(original: Path, empty_data_dir: Path) -> Path:
    """A data folder with a stopped server in it."""
    copy(original, empty_data_dir)
    return empty_data_dir
