"""Runs the Protobuf compiler over every file in protos/, without the network."""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from shared.resources import validation_rules

ROOT = Path(__file__).resolve().parent.parent
# googleapis-common-protos installs google/api and google/rpc beside its Python, grpcio-tools the
# well-known types in a folder of its own.
SITE = Path(sysconfig.get_path("purelib"))
INCLUDES = (SITE, SITE / "grpc_tools" / "_proto")


def compile_protos(source: Path, *outputs: str) -> None:
    """Compile the protos under `source` into `outputs`, which are protoc's `--…_out` options.

    Raises:
        SystemExit: with protoc's own code, after protoc has printed what is wrong.
    """
    files = sorted(str(path.relative_to(source)) for path in source.rglob("*.proto"))
    with tempfile.NamedTemporaryFile(suffix=".binpb") as rules:
        rules.write(_validation_rules())
        rules.flush()
        paths = [f"--proto_path={path}" for path in (source, *INCLUDES)]
        protoc(f"--descriptor_set_in={rules.name}", *paths, *outputs, *files)


def image(source: Path, target: Path) -> Path:
    """Compile `source`, with all that it imports and all comments, into one file of descriptors."""
    compile_protos(
        source, f"--descriptor_set_out={target}", "--include_imports", "--include_source_info"
    )
    return target


def protoc(*arguments: str) -> None:
    """Run protoc. Raises SystemExit if it fails."""
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def _validation_rules() -> bytes:
    # protovalidate does not ship its .proto file, only its descriptor.
    files = FileDescriptorSet()
    validation_rules.DESCRIPTOR.CopyToProto(files.file.add())
    return files.SerializeToString()
