"""A process finds the embedded PostgreSQL by the files in the data folder, if it is really that."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.host import embedded_postgres
from shared.host.embedded_postgres import EmbeddedPostgresError, running_url
from shared.host.private_files import keep_private
from shared.service import database_url
from shared.settings import Settings, SettingsError

SLEEPER = (sys.executable, "-c", "import time; print(flush=True); time.sleep(60)")
URL = "postgresql://tandem_service:hunter2@127.0.0.1:15999/tandem"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder as the embedded PostgreSQL leaves it."""
    (tmp_path / "postgres").mkdir()
    keep_private(tmp_path / "postgres.service.password", lambda: "hunter2")
    return tmp_path


@contextmanager
def process(*arguments: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([*SLEEPER, *arguments], stdout=subprocess.PIPE) as started:
        assert started.stdout
        started.stdout.readline()  # now its command line is complete
        try:
            yield started
        finally:
            started.kill()


def record(data_dir: Path, pid: int, state: str = "ready   ") -> None:
    """Write the pid file of a postmaster."""
    cluster = data_dir / "postgres"
    lines = [pid, cluster, 1774000000, 15999, "", "127.0.0.1", "  1 2", state]
    (cluster / "postmaster.pid").write_text("".join(f"{line}\n" for line in lines))


def test_the_url_is_that_of_the_process_that_runs_on_the_cluster(data_dir: Path) -> None:
    with process("-D", data_dir / "postgres") as postmaster:
        record(data_dir, postmaster.pid)
        assert running_url(data_dir) == URL
        url = database_url(Settings(data_dir=data_dir))
        assert callable(url)
        assert url() == URL
    assert running_url(data_dir) is None
    with pytest.raises(ConnectionError, match="no embedded PostgreSQL runs"):
        url()


def test_a_server_that_still_starts_is_none(data_dir: Path) -> None:
    with process("-D", data_dir / "postgres") as postmaster:
        record(data_dir, postmaster.pid, "starting")
        assert running_url(data_dir) is None


def test_another_process_with_the_recorded_pid_is_not_offered_the_password(data_dir: Path) -> None:
    with process("-D", data_dir / "other") as innocent:
        record(data_dir, innocent.pid)
        assert running_url(data_dir) is None


@pytest.mark.parametrize("content", ["", "\0\0\0\0", "12"])
def test_a_damaged_pid_file_is_no_server(data_dir: Path, content: str) -> None:
    (data_dir / "postgres" / "postmaster.pid").write_text(content)
    assert running_url(data_dir) is None


def test_no_server_is_a_sentence_that_names_the_variable(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"TANDEM_DATABASE_URL is not set and no embedded PostgreSQL runs in {tmp_path}: "
        "set it, or start `tandem up`."
    )


def test_a_password_that_cannot_be_read_is_a_sentence(data_dir: Path) -> None:
    password = data_dir / "postgres.service.password"
    password.unlink()
    with process("-D", data_dir / "postgres") as postmaster:
        record(data_dir, postmaster.pid)
        assert refusal(data_dir).endswith(f"{password}: No such file or directory.")
        password.mkdir()
        assert refusal(data_dir).endswith(f"{password} is not a file: remove it.")


def test_a_copy_does_not_use_the_database_of_its_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "SYSTEM_ROOT", tmp_path)
    original, copy, elsewhere = (tmp_path / name for name in ("original", "copy", "elsewhere"))
    for folder in (original, copy, elsewhere):
        folder.mkdir()
        (folder / "postgres.id").write_text("elsewhere")
    (elsewhere / "data_dir").write_text(str(original))
    assert running_url(original) is None
    with pytest.raises(EmbeddedPostgresError, match="is a copy of"):
        running_url(copy)
    assert refusal(copy).startswith("TANDEM_DATABASE_URL is not set, and the embedded PostgreSQL")


def refusal(data_dir: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        database_url(Settings(data_dir=data_dir))
    return str(refused.value)
