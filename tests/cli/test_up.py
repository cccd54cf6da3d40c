"""What `tandem up` passes on to the services."""

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
