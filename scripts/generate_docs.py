"""Writes the generated parts of docs/; with --check, fails if one of them is not current.

A generated part is between two markers; the rest of its page is written by hand.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import agent_service.access
import task_service.access
from migrations.history import REVISIONS
from scripts.api_reference import Reference
from scripts.entity_diagram import entity_diagram
from scripts.log_table import log_table
from scripts.metric_table import metric_table
from scripts.migration_table import migration_table
from scripts.proto_files import read_protos
from scripts.protoc import ROOT
from scripts.settings_table import settings_table
from scripts.sql_reference import sql_reference
from shared.auth.permissions import in_words
from shared.schema import metadata
from shared.settings import setting_variables

PROTOS = ROOT / "protos"

# The pages of docs/, and what writes the generated part of each.
PAGES: Mapping[str, Callable[[], str]] = {
    "api.md": lambda: api_reference(PROTOS),
    "architecture.md": lambda: entity_diagram(metadata),
    "configuration.md": lambda: settings_table(setting_variables()),
    "metrics.md": metric_table,
    "logs.md": log_table,
    "migrations.md": lambda: migration_table(REVISIONS),
    "sql.md": sql_reference,
}


def main() -> None:
    parts = {ROOT / "docs" / name: part() for name, part in PAGES.items()}
    stale = [page for page, part in parts.items() if not is_current(page, part)]
    if "--check" not in sys.argv:
        for page in stale:
            page.write_text(with_part(page.read_text(), parts[page]))
    elif stale:
        names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
        sys.exit(f"Documentation is not current, run `make docs`: {names}")


def api_reference(protos: Path) -> str:
    """Describe the API in the protos below a folder."""
    rules = agent_service.access.ACCESS | task_service.access.ACCESS
    access = {method: in_words(rule) for method, rule in rules.items()}
    return Reference(read_protos(protos), access).render()


def is_current(page: Path, part: str) -> bool:
    """Whether a page has `part` between its markers."""
    return with_part(page.read_text(), part) == page.read_text()


def with_part(page: str, part: str) -> str:
    """The text of a page with `part` between its markers.

    Raises ValueError if the page does not have the two markers.
    """
    pattern = r"(<!-- made by `make docs` -->\n).*(<!-- end -->)"
    made, count = re.subn(
        pattern, lambda marks: f"{marks[1]}\n{part}\n\n{marks[2]}", page, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError("The page has no place for a generated part.")
    return made


if __name__ == "__main__":
    main()
