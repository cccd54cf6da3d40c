"""Generates the Python of tandem/ from protos/; with --check, proves that it is current."""

import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from scripts.protoc import ROOT, compile_protos

PLUGINS = Path(sys.executable).parent
GENERATED = ROOT / "tandem"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        fresh = generate(Path(scratch))
        if "--check" not in sys.argv:
            replace(fresh)
        elif stale := differing(fresh):
            sys.exit(f"Generated code is not current, run `make protos`: {', '.join(stale)}")


def generate(target: Path) -> Path:
    """Write messages, services and their types below `target`, and return their folder."""
    compile_protos(
        ROOT / "protos",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--plugin=protoc-gen-mypy={PLUGINS / 'protoc-gen-mypy'}",
        f"--mypy_out=quiet:{target}",
        f"--plugin=protoc-gen-mypy_grpc={PLUGINS / 'protoc-gen-mypy_grpc'}",
        # Concrete: a servicer may leave an RPC to its base class, which answers UNIMPLEMENTED.
        f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{target}",
    )
    return target / GENERATED.name


def replace(fresh: Path) -> None:
    """Put `fresh` in the place of the committed code; files of removed protos go away."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    shutil.copytree(fresh, GENERATED)


def differing(fresh: Path) -> list[str]:
    """Name the generated files that differ, and those that only one of the two folders has."""
    names = sorted(_modules(fresh) | _modules(GENERATED))
    _, changed, missing = filecmp.cmpfiles(fresh, GENERATED, names, shallow=False)
    return changed + missing


def _modules(folder: Path) -> set[str]:
    paths = (path for pattern in ("*.py", "*.pyi") for path in folder.rglob(pattern))
    return {str(path.relative_to(folder)) for path in paths}


if __name__ == "__main__":
    main()
