"""Writes the file of the next migration, and names it as the revision that the services need.

Usage: python -m scripts.new_migration add_something
"""

import re
import sys
from argparse import Namespace
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from scripts.protoc import ROOT

MIGRATIONS = ROOT / "migrations"
NEEDED = ROOT / "shared" / "schema" / "revision.py"
# alembic_version.version_num is a varchar(32), and the number and "_" take four.
LONGEST = 28


def main() -> None:
    try:
        path = write_migration(" ".join(sys.argv[1:]), MIGRATIONS)
        need(path.stem, NEEDED)
    except ValueError as error:
        sys.exit(str(error))
    print(f"Wrote migrations/versions/{path.name}. CONTRIBUTING.md says how to go on.")


def write_migration(name: str, folder: Path) -> Path:
    """Write the file for the revision after the newest of `folder`, and return its path.

    Raises ValueError if the name is not usable, or if two revisions of `folder` are the newest.
    """
    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s")
    _require_usable(name, folder)
    heads = ScriptDirectory.from_config(config).get_heads()
    if len(heads) > 1:
        raise ValueError(f"{' and '.join(sorted(heads))} follow the same migration: renumber one.")
    newest = heads[0]
    revision = f"{int(newest[:3]) + 1:03}_{name}"
    command.revision(config, name.replace("_", " ").capitalize(), rev_id=revision)
    return folder / "versions" / f"{revision}.py"


def need(revision: str, path: Path) -> None:
    """Let the services need this revision: `path` has the constant."""
    path.write_text(re.sub('(?<=^REVISION = ").*(?="$)', revision, path.read_text(), flags=re.M))


def _require_usable(name: str, folder: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ValueError("Say what it does: make migration NAME=add_something (a-z, 0-9 and _).")
    if len(name) > LONGEST:
        raise ValueError(f"{name} has {len(name)} characters; at most {LONGEST} are possible.")
    if taken := [path.stem for path in folder.glob(f"versions/[0-9][0-9][0-9]_{name}.py")]:
        raise ValueError(f"There is {taken[0]} already; choose another name.")


if __name__ == "__main__":
    main()
