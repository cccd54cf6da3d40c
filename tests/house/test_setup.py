"""The messages on a machine that cannot run Tandem yet."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_venv.sh"

TOO_OLD = "exit 1"
WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1 ;; esac'


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        (None, "needs Python 3.11 or newer and found none"),
        (TOO_OLD, "needs Python 3.11 or newer and found none"),
        (WITHOUT_VENV, "apt install python3-venv"),
    ],
)
def test_a_machine_without_a_usable_python_is_told_what_to_do(
    tmp_path: Path, python: str | None, sentence: str
) -> None:
    if python is not None:
        install(python, tmp_path / "python3")
    done = make_venv(tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_usable_python_is_found_behind_one_that_is_too_old(tmp_path: Path) -> None:
    install(TOO_OLD, tmp_path / "python3.14")
    install('[ "$1" = -c ] || { echo "called: $*"; exit 7; }', tmp_path / "python3.12")
    done = make_venv(tmp_path)
    assert done.returncode == 7
    assert "-m venv --clear .venv" in done.stdout


def install(script: str, path: Path) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def make_venv(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script in `folder`, which has the only programs that it finds."""
    environment = {"PATH": str(folder)}
    return subprocess.run(
        ["/bin/sh", SCRIPT],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
