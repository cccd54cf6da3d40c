"""What every command has in common."""

from pathlib import Path

import pytest

from cli.commands import db
from tests.cli.conftest import Tandem


def test_help_names_the_commands(tandem: Tandem) -> None:
    said = tandem.says("--help")
    for command in ("up", "token", "users", "events", "tasks", "agents", "db", "health"):
        assert f" {command} " in said


def test_a_wrong_setting_is_a_sentence_that_names_it(tandem: Tandem) -> None:
    sentence = tandem.refuses("db", "current", TANDEM_AGENT_ADDRESS="nowhere")
    assert sentence.startswith("TANDEM_AGENT_ADDRESS: ")


def test_an_unforeseen_fault_is_a_sentence_without_its_text(
    tandem: Tandem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault() -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(db, "load_settings", fault)
    sentence = tandem.refuses("db", "current")
    assert sentence.startswith("An unexpected error ended the command: KeyError in test_main.py")
    assert "secret" not in sentence


def test_a_data_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tandem = Tandem({"TANDEM_DATA_DIR": str(tmp_path / "file" / "data")})
    assert tandem.refuses("db", "current") == f"{tmp_path}/file/data: Not a directory.\n"
