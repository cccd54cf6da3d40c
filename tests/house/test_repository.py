"""What must not be in the repository, and what the documents promise about the Makefile."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# In pieces, so that this file does not contain what it looks for.
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "proxy.go" + "lang.org")
MACHINE_PATHS = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/Use" + "rs/")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only git knows which files are ours")
def test_no_file_names_a_package_registry_or_a_place_on_one_machine() -> None:
    found = [
        f"{file}: {unwanted}"
        for file, text in tracked_texts()
        for unwanted in (*REGISTRIES, *MACHINE_PATHS)
        if unwanted in text
    ]
    assert found == []


def test_every_make_word_in_the_documents_exists() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    documents += (ROOT / "docs").rglob("*.md")
    documents += (ROOT / "clients").rglob("*.md")
    used = {
        word
        for document in documents
        for word in re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)
    }
    assert {"run", "test"} <= used <= known


def test_every_word_of_the_makefile_has_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = makefile.split(".PHONY:")[1].split("\n\n")[0].replace("\\", "").split()
    helped = re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE)
    assert sorted(phony) == sorted(helped)


def tracked_texts() -> list[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = filter(None, listed.stdout.decode().split("\0"))
    files = [(name, ROOT / name) for name in names]
    return [(name, path.read_text(errors="replace")) for name, path in files if path.is_file()]
