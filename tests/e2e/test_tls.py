"""`tandem up` with the certificates of the manual, made and used as it says."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.supervised import TANDEM, Surroundings

MANUAL = Path(__file__).parents[2] / "docs" / "operations.md"
MAKE, SETTINGS, HEALTH = re.findall(
    r"^```sh\n(.*?)^```", MANUAL.read_text().partition("\n## TLS\n")[2], re.M | re.S
)[:3]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of the certificates."""
    if not shutil.which("openssl"):
        pytest.skip("the manual makes certificates with openssl")
    (tmp_path / "tls").mkdir()
    subprocess.run(["sh", "-ec", MAKE], cwd=tmp_path / "tls", check=True, capture_output=True)
    return tmp_path / "tls"


def settings(folder: Path) -> dict[str, str]:
    named = re.findall(r"(TANDEM_\w+)=(\S+)", SETTINGS)
    return {name: str(folder / v) if (folder / v).exists() else v for name, v in named}


@pytest.mark.long
def test_the_certificates_of_the_manual_work_as_it_says(tandem: Surroundings, files: Path) -> None:
    environment = settings(files)
    with tandem.up(**environment) as run:
        run.ready()
        assert "ownerId" in run.paste()
        asked = HEALTH.replace(".venv/bin/tandem", str(TANDEM))
        for address in (tandem.agent_address, tandem.task_address):
            command = re.sub(r"localhost:\d+", f"localhost:{address.rpartition(':')[2]}", asked)
            assert _run(command, files) == (0, "SERVING\n", "")
            without = command.partition(" --tls-certificate")[0]
            assert _run(without, files)[:2] == (1, "")
            plain = command.partition(" --tls-ca")[0]
            assert _run(plain, files)[:2] == (1, "")
        run.stop()


def test_a_start_that_could_not_look_after_its_services_is_refused(
    tandem: Surroundings, files: Path
) -> None:
    only = {n: v for n, v in settings(files).items() if n.startswith("TANDEM_TASK_TLS_")}
    assert "set TANDEM_CLIENT_TLS_CA too" in tandem.refused(**only)


def _run(command: str, folder: Path) -> tuple[int, str, str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("TANDEM_")}
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=inherited, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr
