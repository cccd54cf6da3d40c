"""`tandem config check`, and the secrets of commands in files."""

from pathlib import Path

import pytest

from shared.settings import setting_variables
from tests.cli.conftest import SECRET, Tandem
from tests.local.embedded_postgres.folders import ask


def test_a_sound_configuration_is_shown_with_masked_secrets(tandem: Tandem, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(tandem.environment.pop("TANDEM_JWT_SECRET") + "\n")
    said = tandem.says(
        *("config", "check"), TANDEM_JWT_SECRET_FILE=str(file), TANDEM_POOL_SIZE="7", COLUMNS="200"
    )
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in said.splitlines()[2:]}
    assert list(rows) == [each.name for each in setting_variables()]
    assert rows["TANDEM_POOL_SIZE"].split(maxsplit=1) == ["7", "the environment"]
    assert rows["TANDEM_JWT_SECRET"].split() == ["********", "TANDEM_JWT_SECRET_FILE"]
    assert rows["TANDEM_DATABASE_URL"].split(maxsplit=1) == ["********", "the environment"]
    assert rows["TANDEM_JWT_PUBLIC_KEY"].split() == ["(not", "set)", "default"]
    assert SECRET not in said
    assert tandem.environment["TANDEM_DATABASE_URL"] not in said


def test_everything_that_is_wrong_is_said_and_no_secret() -> None:
    wrong = {
        "TANDEM_DATABASE_OWNER_URL": "postgresql://tandem:hunter2@127.0.0.1:1/tandem",
        "TANDEM_DATABASE_URL": "postgresql://tandem:hunter2#1@127.0.0.1:1/tandem",
        "TANDEM_JWT_PUBLIC_KEY": "hunter2",
        "TANDEM_LOG_LEVEL": "hunter2",
        "TANDEM_POOLSIZE": "hunter2",
    }
    result = Tandem(wrong)("config", "check", COLUMNS="200")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "TANDEM_LOG_LEVEL",
        "TANDEM_POOLSIZE",
        "TANDEM_JWT_PUBLIC_KEY",
        "TANDEM_DATABASE_OWNER_URL",
        "TANDEM_DATABASE_URL",
    ]
    assert "(ConnectionRefusedError)" in result.stderr
    assert "(refused)" in result.stdout
    assert "hunter2" not in result.output


def test_a_database_at_another_revision_is_not_well(tandem: Tandem) -> None:
    url = tandem.environment["TANDEM_DATABASE_URL"]
    ask(url, "UPDATE alembic_version SET version_num = '009_x' RETURNING 1")
    result = tandem("config", "check")
    assert (result.exit_code, "run `tandem db upgrade` first" in result.stderr) == (1, True)
    assert tandem("config", "check", "--up").exit_code == 0


def test_what_tandem_up_makes_is_missed_only_by_services(tmp_path: Path) -> None:
    tandem = Tandem({"TANDEM_DATA_DIR": str(tmp_path / "data")})
    result = tandem("config", "check")
    assert result.exit_code == 1
    key, database = result.stderr.splitlines()
    assert key.startswith("No key to verify tokens by")
    assert database.startswith("TANDEM_DATABASE_URL is not set")
    assert tandem("config", "check", "--up").exit_code == 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TANDEM_API_KEY": "hunter2"}, "must not be set beside TANDEM_API_KEY"),
        ({}, "cannot be read (No such file or directory)"),
    ],
)
def test_an_api_key_may_be_in_a_file(
    environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    result = Tandem(environment)(
        *("tasks", "claim"), TANDEM_API_KEY_FILE=str(tmp_path / "hunter2"), COLUMNS="200"
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "hunter2" not in result.stderr


def test_an_api_key_in_a_file_is_what_a_command_calls_with(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("tdm_of_no_service\n")
    addresses = {f"TANDEM_{name}_ADDRESS": "127.0.0.1:1" for name in ("AGENT", "TASK")}
    tandem = Tandem({**addresses, "TANDEM_API_KEY_FILE": str(file)})
    assert "cannot be reached" in tandem.refuses("tasks", "claim")


def test_help_of_up_lists_what_it_and_the_services_read(tandem: Tandem) -> None:
    said = tandem.says("up", "--help")
    missing = {each.name for each in setting_variables() if f"\n{each.name}" not in said}
    assert missing == {"TANDEM_DATABASE_ADMIN_URL"}
    assert max(map(len, said.splitlines())) <= 80
