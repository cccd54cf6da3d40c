"""The environment: names that nothing reads, and secrets in files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.service import main
from shared.settings import AGENTS, TASKS, SettingsError, load_settings, setting_variables
from shared.settings.listing import plain, usage
from tests.shared.test_settings import bare

__all__ = ["bare"]

KUBERNETES = {
    "TANDEM_AGENTS_SERVICE_HOST": "10.0.0.11",
    "TANDEM_AGENTS_SERVICE_PORT": "50051",
    "TANDEM_AGENTS_SERVICE_PORT_GRPC": "50051",
    "TANDEM_AGENTS_PORT": "tcp://10.0.0.11:50051",
    "TANDEM_AGENTS_PORT_50051_TCP": "tcp://10.0.0.11:50051",
    "TANDEM_AGENTS_PORT_50051_TCP_PROTO": "tcp",
    "TANDEM_AGENTS_PORT_50051_TCP_PORT": "50051",
    "TANDEM_AGENTS_PORT_50051_TCP_ADDR": "10.0.0.11",
    "TANDEM_SERVICE_HOST": "10.0.0.12",
    "TANDEM_PORT": "tcp://10.0.0.12:80",
}
SECRET = "hunter2" * 5


def problems() -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "hunter2" not in str(raised.value)
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TANDEM_LOG_LEVLE", "the nearest name is TANDEM_LOG_LEVEL"),
        ("TANDEM_POOLSIZE", "the nearest name is TANDEM_POOL_SIZE"),
        ("tandem_database_uri", "the nearest name is TANDEM_DATABASE_URL"),
        ("TANDEM_JWT_SECRET_FIEL", "the nearest name is TANDEM_JWT_SECRET_FILE"),
        ("TANDEM_LOG_LEVEL_FILE", "the nearest name is TANDEM_LOG_LEVEL"),
        ("TANDEM_API_KEYS", "the nearest name is TANDEM_API_KEY"),
        ("TANDEM_AGENT_PORT", "the nearest name is "),
        ("TANDEM_XYZZY", "`tandem up --help` has all names"),
        ("TANDEM_", "`tandem up --help` has all names"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused_with_the_nearest_name(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hunter2")
    (sentence,) = problems()
    assert sentence.startswith(f"{name.upper()}: no part of Tandem reads it; {nearest}")


def test_variables_of_other_parts_and_programs_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = ("TANDEM_TOKEN", "TANDEM_API_KEY_FILE", "TANDEM_SUPERVISOR_FD", "TANDEM_TEST_KILLS")
    for name in (*ours, "TANDEM_OWNER_PASSWORD", "TANDEMX", "TANDEMS_POOL"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("TANDEM_LOG_LEVLE", "")
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    load_settings()
    monkeypatch.setenv("TANDEM_PORT", "80")
    assert [each.split(":")[0] for each in problems()] == ["TANDEM_SERVICE_HOST", "TANDEM_PORT"]


def test_a_name_in_two_spellings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_LOG_LEVEL", "info")
    monkeypatch.setenv("tandem_log_level", "debug")
    assert problems() == ["TANDEM_LOG_LEVEL: is set twice, with letters of different case."]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_its_file_without_the_newline_at_the_end(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(f"{SECRET}\n {end}".encode())
    monkeypatch.setenv("TANDEM_JWT_SECRET_FILE", str(file))
    settings = load_settings()
    assert settings.jwt_secret
    assert settings.jwt_secret.get_secret_value() == f"{SECRET}\n "
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory)."),
        (b"", "is empty."),
        (b"\n", "is empty."),
        (b"hunter2", "must be at least 32 bytes long."),
        (SECRET.encode() + b"\xff", "must be UTF-8."),
        (b"hunter2" * 150_000, "can have 1,048,576 bytes."),
    ],
)
def test_a_file_that_is_of_no_use_is_named_by_its_setting(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hunter2"  # a secret may be set in the place of a path
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("TANDEM_JWT_SECRET_FILE", str(file))
    (sentence,) = problems()
    assert sentence.startswith("TANDEM_JWT_SECRET_FILE: ")
    assert sentence.endswith(said)


def test_a_folder_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATABASE_URL_FILE", str(tmp_path))
    assert problems() == [
        "TANDEM_DATABASE_URL_FILE: the file that it names cannot be read (Is a directory)."
    ]


def test_a_secret_and_its_file_are_not_both_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in setting_variables():
        if each.file_name:
            monkeypatch.setenv(each.name, "hunter2")
            monkeypatch.setenv(each.file_name, str(tmp_path / "hunter2"))
    found = [each for each in setting_variables() if each.file_name]
    assert problems() == [
        f"{each.file_name}: must not be set beside {each.name}." for each in found
    ]


def test_everything_that_is_wrong_is_said_at_once_by_a_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This is what `python -m` runs, with its exit status."""
    monkeypatch.setattr(sys, "argv", ["agent_service"])
    for name, value in (("LOG_LEVEL", "loud"), ("POOLSIZE", "1"), ("POOL_SIZE", "many")):
        monkeypatch.setenv(f"TANDEM_{name}", value)
    assert main("agents", None, None) == 1  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "TANDEM_LOG_LEVEL",
        "TANDEM_POOL_SIZE",
        "TANDEM_POOLSIZE",
        "No key to verify tokens by",
    ]


def test_keys_that_are_of_no_use_are_said_at_once_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["task_service"])
    monkeypatch.setenv("TANDEM_JWT_PRIVATE_KEY", "hunter2")
    monkeypatch.setenv("TANDEM_JWT_PUBLIC_KEY", "hunter2")
    monkeypatch.setenv(
        "TANDEM_JWT_ISSUERS",
        '[{"issuer": "tandem", "audience": "a", "public_key": "PUBLIC KEY-----hunter2"}]',
    )
    assert main("tasks", None, None) == 1  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert [line.split(":")[0] for line in said.splitlines()] == [
        "TANDEM_JWT_PRIVATE_KEY",
        "TANDEM_JWT_PUBLIC_KEY",
        "TANDEM_JWT_ISSUERS",
        "TANDEM_JWT_ISSUERS",
    ]
    assert "hunter2" not in said


@pytest.mark.parametrize("reader", [AGENTS, TASKS])
def test_help_lists_what_a_service_reads_in_lines_that_fit(reader: str) -> None:
    text = usage(setting_variables(), reader, 72)
    for each in setting_variables():
        listed = f"\n{each.name}" in text
        assert listed == (reader in each.setting.read_by), each.name
        if listed:
            assert plain(each.setting.does)[:40] in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 72
    assert "](" not in text


def test_a_service_answers_help_and_refuses_other_arguments() -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "task_service", *arguments]
        environment = {**os.environ, "TANDEM_LOG_LEVLE": "x", "COLUMNS": "200"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    helped = run("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout == usage(setting_variables(), TASKS, 100)
    refused = run("--port", "1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "The task service takes no arguments but --help.\n"
