"""Writes what docs/ says about the protos and the schema; with --check, proves that it is current.

Each such part stands between two markers, which name it; the rest of a page is written by hand.
"""

import re
import sys
from pathlib import Path

import agent_service.access
import task_service.access
from scripts.api_reference import Reference
from scripts.entity_diagram import entity_diagram
from scripts.proto_files import read_protos
from scripts.protoc import ROOT
from shared.schema import metadata

PROTOS = ROOT / "protos"


def main() -> None:
    pages = {
        ROOT / "docs" / "api.md": api_reference(PROTOS),
        ROOT / "docs" / "architecture.md": entity_diagram(metadata),
    }
    stale = [page for page, part in pages.items() if not is_current(page, part)]
    if "--check" not in sys.argv:
        for page in stale:
            page.write_text(with_part(page.read_text(), pages[page]))
    elif stale:
        names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
        sys.exit(f"Documentation is not current, run `make docs`: {names}")


def api_reference(protos: Path) -> str:
    """Describe the API in the protos below a folder."""
    rules = agent_service.access.ACCESS | task_service.access.ACCESS
    access = {method: rule.name.lower().replace("_", " ") for method, rule in rules.items()}
    return Reference(read_protos(protos), access).render()


def is_current(page: Path, part: str) -> bool:
    """Whether a page has `part` already."""
    return with_part(page.read_text(), part) == page.read_text()


def with_part(page: str, part: str) -> str:
    """The text of a page with `part` between its markers.

    Raises ValueError where the page does not have the two markers.
    """
    pattern = r"(<!-- made by `make docs` -->\n).*(<!-- end -->)"
    made, count = re.subn(
        pattern, lambda marks: f"{marks[1]}\n{part}\n\n{marks[2]}", page, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError("The page has no place that is made.")
    return made


if __name__ == "__main__":
    main()
