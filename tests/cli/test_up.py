"""What `tandem up` passes on to the services."""

from pathlib import Path

import pytest

from cli.up import _environment
from shared.settings import SecretStr, Settings

URL = "postgresql://tandem:hunter2@127.0.0.1:1/tandem"


def test_the_services_do_not_inherit_the_urls_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATABASE_URL", URL)
    monkeypatch.setenv("TANDEM_DATABASE_OWNER_URL", URL)
    monkeypatch.setenv("tandem_database_admin_url", URL)
    passed = _environment(Settings(jwt_secret=SecretStr("s" * 32)))
    assert {name for name, value in passed.items() if value == URL} == {"TANDEM_DATABASE_URL"}


def test_a_service_gets_no_file_beside_what_tandem_up_has_determined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would refuse both."""
    for name in ("JWT_SECRET", "DATABASE_OWNER_URL", "DATABASE_ADMIN_URL"):
        monkeypatch.setenv(f"TANDEM_{name}_FILE", str(tmp_path))
    monkeypatch.setenv("tandem_data_dir", str(tmp_path))
    given = _environment(Settings(data_dir=tmp_path, jwt_secret=SecretStr("s" * 32)))
    names = {name for name in given if name.upper().startswith("TANDEM_JWT_SECRET")}
    assert names == {"TANDEM_JWT_SECRET"}
    assert "tandem_data_dir" not in given
    assert not [name for name in given if "OWNER" in name or "ADMIN" in name]
