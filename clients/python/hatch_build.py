"""Packs the generated code, which stands once in the repository: in tandem/ at its root."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

GENERATED = "tandem"


class GeneratedCode(BuildHookInterface[Any]):
    """Adds tandem/ to an sdist and to a wheel; an sdist has it in its own root."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Say where tandem/ is. An editable install takes it from the checkout's root."""
        if version == "editable":
            return
        root = Path(self.root)
        inside, outside = root / GENERATED, root.parents[1] / GENERATED
        found = inside if inside.is_dir() else outside
        build_data["force_include"][str(found)] = GENERATED
