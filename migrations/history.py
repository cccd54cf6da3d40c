"""Every revision there is, oldest first. They are called as their files, which are numbered."""

from pathlib import Path

REVISIONS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("versions/[0-9]*.py")))
BASE, BASE_WITH_CREATORS, WITH_AGENTS, BOUND = REVISIONS[:4]
