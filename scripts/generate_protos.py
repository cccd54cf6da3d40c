"""Generates the Python of tandem/ from protos/; with --check, checks that it is current.

Clients import it, and must not need protovalidate for that. So the generated code does not import
the rules' descriptor: the rules stay in the options of our own descriptors, as bytes that only code
with the descriptor can read (shared/resources/validation_rules.py, and protovalidate itself).
"""

import filecmp
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from scripts.protoc import ROOT, image, protoc
from shared.resources import validation_rules

PLUGINS = Path(sys.executable).parent
GENERATED = ROOT / "tandem"
PATTERNS = ("*.py", "*.pyi", "py.typed")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        fresh = generate(Path(scratch))
        if "--check" not in sys.argv:
            replace(fresh)
        elif stale := differing(fresh):
            sys.exit(f"Generated code is not current, run `make protos`: {', '.join(stale)}")


def generate(target: Path) -> Path:
    """Write messages, services and their types below `target`, and return their folder."""
    descriptors = image(ROOT / "protos", target / "image.binpb")
    files = without_rules(FileDescriptorSet.FromString(descriptors.read_bytes()))
    descriptors.write_bytes(files.SerializeToString())
    protoc(
        f"--descriptor_set_in={descriptors}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--plugin=protoc-gen-mypy={PLUGINS / 'protoc-gen-mypy'}",
        f"--mypy_out=quiet:{target}",
        f"--plugin=protoc-gen-mypy_grpc={PLUGINS / 'protoc-gen-mypy_grpc'}",
        # Concrete: a servicer may leave an RPC to its base class, which answers UNIMPLEMENTED.
        f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{target}",
        *(file.name for file in files.file if file.package.startswith(f"{GENERATED.name}.")),
    )
    (target / GENERATED.name / "py.typed").touch()
    return target / GENERATED.name


def without_rules(files: FileDescriptorSet) -> FileDescriptorSet:
    """The same files without the rules' own, and without a dependency on it."""
    rules = validation_rules.DESCRIPTOR.name
    kept = FileDescriptorSet(file=[file for file in files.file if file.name != rules])
    for file in kept.file:
        dependencies = [name for name in file.dependency if name != rules]
        del file.dependency[:]
        file.dependency.extend(dependencies)
        _forget_derived_names(file.message_type)
    return kept


def _forget_derived_names(messages: Iterable[DescriptorProto]) -> None:
    # protoc writes all of them into an image; a runtime derives them by itself.
    for message in messages:
        for field in message.field:
            if field.json_name == re.sub("_(.)", lambda found: found[1].upper(), field.name):
                field.ClearField("json_name")
        _forget_derived_names(message.nested_type)


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
    paths = (path for pattern in PATTERNS for path in folder.rglob(pattern))
    return {str(path.relative_to(folder)) for path in paths}


if __name__ == "__main__":
    main()
