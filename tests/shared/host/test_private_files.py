"""What is in a data folder can be read and changed by its owner only, and no link is followed."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.host.data_lock import lock
from shared.host.embedded_postgres import read_record
from shared.host.private_files import (
    UnsafeFileError,
    keep_private,
    located,
    make_folder,
    open_private,
    read_secret,
    write_whole,
)
from tests.local.embedded_postgres.folders import reachable_folder, remove

TANDEM = Path(sys.executable).with_name("tandem")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def keep(path: Path) -> str:
    return keep_private(path, lambda: "hunter2")


def append(path: Path) -> None:
    os.close(open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT))


def take_lock(path: Path) -> None:
    with lock(path.parent, "a test"):
        pass


@pytest.mark.parametrize("use", [keep, append, take_lock])
@pytest.mark.parametrize("target", ["kept", "missing"])
def test_a_link_in_the_place_of_a_file_is_not_followed(
    tmp_path: Path, use: Callable[[Path], None], target: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "kept").write_text("kept")
    path = tmp_path / "folder" / "lock"
    path.symlink_to(tmp_path / target)
    with pytest.raises(UnsafeFileError, match=f"{path} is a symbolic link"):
        use(path)
    assert (tmp_path / "kept").read_text() == "kept"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("use", [keep, append, take_lock, lambda path: write_whole(path, "x")])
def test_a_link_in_the_place_of_the_folder_is_not_followed(
    tmp_path: Path, use: Callable[[Path], None]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeFileError, match=f"{tmp_path / 'link'} is a symbolic link"):
        use(tmp_path / "link" / "lock")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_replaced_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "port").symlink_to(tmp_path / "kept")
    write_whole(tmp_path / "port", "1")
    assert (tmp_path / "kept").read_text() == "kept"
    assert not (tmp_path / "port").is_symlink()


@pytest.mark.parametrize("use", [keep, take_lock])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, use: Callable[[Path], None]
) -> None:
    os.mkfifo(tmp_path / "lock", 0o600)
    with pytest.raises(UnsafeFileError, match="is not a file"):
        use(tmp_path / "lock")


def test_a_link_or_a_pipe_in_a_cluster_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    assert read_record(tmp_path, "secret") == "hunter2"
    assert read_record(tmp_path, "missing") == ""
    assert read_record(tmp_path, "pipe") == ""
    with pytest.raises(OSError, match="symbolic link"):
        read_record(tmp_path, "link")


@pytest.mark.parametrize("use", [keep, append, take_lock, lambda path: write_whole(path, "x")])
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_that_others_can_change_is_refused(
    tmp_path: Path, use: Callable[[Path], None], mode: int
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "planted").touch()
    (tmp_path / "folder").chmod(mode)
    with pytest.raises(UnsafeFileError, match=f"has the mode {mode:o}.*run chmod go-w"):
        use(tmp_path / "folder" / "lock")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["planted"]
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == mode


@pytest.mark.parametrize("mode", [0o775, 0o777])
def test_an_empty_folder_that_others_could_change_is_closed_to_them(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(mode)
    take_lock(tmp_path / "folder" / "lock")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755
    take_lock(tmp_path / "folder" / "lock")
    assert [message.split()[0] for message in caplog.messages] == [str(tmp_path / "folder")]


def test_a_file_that_comes_into_a_folder_before_it_is_closed_has_it_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, fchmod = tmp_path / "folder", os.fchmod
    folder.mkdir()
    folder.chmod(0o775)

    def planted_before(descriptor: int, mode: int) -> None:
        (folder / "planted").touch()
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", planted_before)
    for _ in range(2):
        with pytest.raises(UnsafeFileError, match="has the mode 775"):
            make_folder(folder)


@as_root
def test_an_empty_folder_of_another_account_stays_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o775)
    os.chown(tmp_path / "folder", 1, 1)
    with pytest.raises(UnsafeFileError, match="belongs to the account 1"):
        make_folder(tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o775


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602])
def test_a_secret_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    keep(path := tmp_path / "secret")
    path.chmod(mode)
    for use in (keep, read_secret):
        with pytest.raises(UnsafeFileError, match=f"has the mode {mode:o}.*run chmod go="):
            use(path)


def test_the_lock_of_an_earlier_version_is_no_longer_open_to_others(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "lock").chmod(0o666)
    take_lock(tmp_path / "lock")
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


@as_root
@pytest.mark.parametrize("use", [keep, append, take_lock])
@pytest.mark.parametrize("name", ["folder", "folder/lock"])
def test_what_belongs_to_another_account_is_refused(
    tmp_path: Path, use: Callable[[Path], None], name: str
) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "lock"
    path.touch(0o600)
    os.chown(tmp_path / name, 1, 1)
    with pytest.raises(UnsafeFileError, match="belongs to the account 1, and this is 0"):
        use(path)


def test_links_on_the_way_to_the_folder_are_the_administrator_s(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "disk")
    data_dir = located(tmp_path / "way" / "data")
    make_folder(data_dir)
    assert data_dir == tmp_path / "disk" / "data"
    assert located(Path(".")) == Path.cwd()


@pytest.mark.parametrize("before", ["umask 000", "umask 002; mkdir -m 755 above; mkdir above/data"])
def test_with_a_careless_umask_nothing_becomes_writable_for_others(before: str) -> None:
    folder = reachable_folder()
    data_dir = folder / "above" / "data"
    command = f'{before}; exec "$0" token --user ann'
    environment = {n: v for n, v in os.environ.items() if not n.startswith("TANDEM_")}
    try:
        subprocess.run(
            ["/bin/sh", "-c", command, TANDEM],
            cwd=folder,
            env={**environment, "TANDEM_DATA_DIR": str(data_dir)},
            capture_output=True,
            check=False,
        )
        made = {path.name: path.lstat().st_mode for path in folder.rglob("*")}
        assert {"data", "lock", "jwt.secret", "postgres.password", "postgres.log"} <= made.keys()
        assert [
            name for name, mode in made.items() if mode & 0o022 and not stat.S_ISLNK(mode)
        ] == []
        readable = {p.name for p in data_dir.iterdir() if p.is_file() and p.stat().st_mode & 0o077}
        assert readable == set()
    finally:
        remove(data_dir)
        (folder / "above").rmdir()
        folder.rmdir()
