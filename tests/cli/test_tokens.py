"""`tandem token`."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest

from shared.host.embedded_postgres import running_url
from tests.cli.conftest import SECRET, Tandem
from tests.local.embedded_postgres.folders import ask

TANDEM = Path(sys.executable).with_name("tandem")


def claims(token: str, secret: str = SECRET) -> dict[str, object]:
    read: dict[str, object] = jwt.decode(token, secret, ["HS256"], audience="tandem")
    return read


def test_a_token_names_the_user_and_ends(tandem: Tandem) -> None:
    user_id = tandem.says("users", "create", "ann", "--email", "ann@example.org").strip()
    read = claims(tandem.says("token", "--user", "ann", "--ttl", "30m").strip())
    assert (read["sub"], read["typ"], read["iss"]) == (user_id, "user", "tandem")
    assert read["exp"] == pytest.approx(time.time() + 1800, abs=30)


@pytest.mark.parametrize("ttl", ["", "soon", "0h", "-1h", "12", "366d", "999999999d"])
def test_a_lifetime_that_is_none_is_a_mistake_in_usage(tandem: Tandem, ttl: str) -> None:
    assert tandem("token", "--user", "ann", "--ttl", ttl).exit_code == 2


def test_a_configured_database_gets_no_user_by_the_way(tandem: Tandem) -> None:
    assert tandem.refuses("token", "--user", "ann") == (
        "There is no user ann: `tandem users create` creates one.\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TANDEM_JWT_PUBLIC_KEY", "anything", "TANDEM_JWT_PUBLIC_KEY is set"),
        ("TANDEM_JWT_JWKS_URL", "https://issuer.example/keys", "TANDEM_JWT_JWKS_URL is set"),
        ("TANDEM_JWT_PRIVATE_KEY", "anything", "tokens of agents only"),
    ],
)
def test_with_another_key_tokens_are_signed_elsewhere(
    tandem: Tandem, name: str, value: str, said: str
) -> None:
    sentence = tandem.refuses("token", "--user", "ann", **{"TANDEM_JWT_SECRET": "", name: value})
    assert said in sentence


def test_the_embedded_database_gets_the_user_once(data_dir: Path) -> None:
    tandem = Tandem({"TANDEM_DATA_DIR": str(data_dir)})
    tandem.says("db", "upgrade")
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda _: run(data_dir, "token", "--user", "ann"), range(2)))
    secret = data_dir / "jwt.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert [output.count("\n") for output in said] == [1, 1]
    assert len({claims(output.strip(), secret.read_text())["sub"] for output in said}) == 1
    assert running_url(data_dir) is None


def run(data_dir: Path, *arguments: str) -> str:
    environment = {"TANDEM_DATA_DIR": str(data_dir)}
    done = subprocess.run([TANDEM, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_owner_of_the_token_is_the_user_in_the_database(
    tandem: Tandem, database_url: str
) -> None:
    tandem.says("users", "create", "ann", "--email", "ann@example.org")
    subject = claims(tandem.says("token", "--user", "Ann").strip())["sub"]
    assert ask(database_url, "SELECT id::text FROM users WHERE username = 'ann'") == subject
