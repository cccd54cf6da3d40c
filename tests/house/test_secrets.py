"""A secret that is about to be committed is noticed; a finding that was judged harmless is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.protoc import ROOT

# In pieces, so that this file does not contain what the check looks for.
PASSWORD = "correct-horse-" + "battery-staple"  # pragma: allowlist secret
TOKEN = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVm"
PLANTED = {
    "an API key": ("notes.md", "Use tdm_" + "qgvnpwuk5ychoypl" + "_" + "Zk3" * 14 + "Q"),
    "an API key that is given to a call": (
        "d.py",
        'client = connect("tdm_' + "qgvnpwuk5ychoypl" + "_" + "Zk3" * 14 + 'Q")',
    ),
    "a private key": ("key.pem", "-----BEGIN " + "PRIVATE KEY-----"),
    "a token": ("a.sh", f"T={TOKEN}"),
    "a password in a URL": ("b.env", f"URL=postgresql://tandem:{PASSWORD}@db/tandem"),
    "a password in code": ("c.py", "PASS" + f'WORD = "{PASSWORD}"'),
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("options", [(), ("--staged",)])
def test_a_planted_secret_is_found(
    repository: Path, planted: str, options: tuple[str, ...]
) -> None:
    name, secret = PLANTED[planted]
    stage(repository, name, f"first line\n{secret}\n")
    done = check(repository, *options)
    assert done.returncode == 1
    assert f"{name}:2: " in done.stdout
    assert secret not in done.stdout + done.stderr


def test_what_is_no_secret_passes(repository: Path) -> None:
    stage(repository, "a.env", "URL=postgresql://user:password@host:5432/database\n")
    stage(repository, "README.md", (ROOT / "README.md").read_text())
    done = check(repository)
    assert (done.returncode, done.stdout) == (0, "")


def test_before_a_commit_only_what_it_changes_is_looked_at(repository: Path) -> None:
    stage(repository, "old.pem", PLANTED["a private key"][1])
    git(repository, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "Old")
    stage(repository, "new.md", "Nothing to see.\n")
    assert check(repository, "--staged").returncode == 0
    assert check(repository).returncode == 1


def stage(repository: Path, name: str, text: str) -> None:
    (repository / name).write_text(text)
    git(repository, "add", name)


def check(repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the check on another repository than this one."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.check_secrets", *options],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, check=True)
