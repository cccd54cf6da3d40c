"""Every revision, oldest first. A revision is named after its file, which is numbered."""

from pathlib import Path

REVISIONS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("versions/[0-9]*.py")))
NEWEST = REVISIONS[-1]

# The revisions that other code refers to.
BASE, BASE_WITH_CREATORS, WITH_AGENTS, BOUND = REVISIONS[:4]
IGNORING_CASE = "013_ignore_case_of_users"
