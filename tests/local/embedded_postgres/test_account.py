"""What a program that failed is reported with."""

from pathlib import Path

import pytest

from local.embedded_postgres.account import Account
from local.embedded_postgres.binaries import find_binaries
from local.embedded_postgres.home import locate_or_create
from shared.host.embedded_postgres import EmbeddedPostgresError


def test_the_cause_is_named_and_not_the_hint_after_it(data_dir: Path) -> None:
    home = locate_or_create(data_dir)
    occupied = home.folder / "occupied"
    occupied.mkdir()
    (occupied / "file").touch()
    home.account.own(occupied)
    home.account.own(occupied / "file")
    with pytest.raises(EmbeddedPostgresError) as raised:
        home.account.run(home.folder, find_binaries(home).initdb, "-D", occupied)
    assert str(raised.value) == (
        f'initdb failed: initdb: error: directory "{occupied}" exists but is not empty'
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo first >&2; echo last >&2; exit 3", "sh failed: last"),
        ("exit 3", "sh failed: exit code 3"),
    ],
)
def test_without_a_cause_the_last_line_or_the_exit_code_is_named(script: str, said: str) -> None:
    with pytest.raises(EmbeddedPostgresError) as raised:
        Account().run(Path("/"), "/bin/sh", "-c", script)
    assert str(raised.value) == said
