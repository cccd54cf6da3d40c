"""Checks the style of protos/, and that no change to them breaks a client.

Usage: python -m scripts.check_protos lint|breaking
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from scripts.protoc import ROOT, image

BUF = Path(sys.executable).parent / "buf"
CONFIG = f"--config={ROOT / 'buf.yaml'}"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit({"lint": lint, "breaking": breaking}[sys.argv[1]](Path(scratch)))


def lint(scratch: Path) -> int:
    """Run buf's linter and return its exit code."""
    return _buf("lint", image(ROOT / "protos", scratch / "now.binpb"))


def breaking(scratch: Path) -> int:
    """Compare with the commit that this one builds on; 0 if there is none with protos."""
    base = base_commit()
    if not base or not (before := protos_of(base, scratch)):
        print("No earlier protos to compare with.")
        return 0
    now, then = scratch / "now.binpb", scratch / "then.binpb"
    return _buf("breaking", image(ROOT / "protos", now), f"--against={image(before, then)}")


def base_commit() -> str:
    """Find where this branch left main or, on main itself, the commit before; "" if neither is."""
    head = _git("rev-parse", "HEAD")
    for main_branch in ("main", "origin/main"):
        fork = _git("merge-base", "HEAD", main_branch)
        if fork and fork != head:
            return fork
    return _git("rev-parse", "--verify", "HEAD^1")


def protos_of(commit: str, scratch: Path) -> Path | None:
    """Unpack the protos of a commit into `scratch`; None if it has none."""
    archive = subprocess.run(
        ["git", "archive", "--format=zip", commit, "protos"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        return None
    zipfile.ZipFile(io.BytesIO(archive.stdout)).extractall(scratch)
    return scratch / "protos"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _buf(*arguments: str | Path) -> int:
    return subprocess.run([BUF, *arguments, CONFIG], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    main()
