"""Runs the Protobuf compiler over every file in protos/, without the network."""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from buf.validate import validate_pb2

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
        inputs = [f"--descriptor_set_in={rules.name}"]
        inputs += [f"--proto_path={path}" for path in (source, *INCLUDES)]
        command = [sys.executable, "-m", "grpc_tools.protoc", *inputs, *outputs, *files]
        done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def _validation_rules() -> bytes:
    # protovalidate does not ship its .proto file, only its descriptor.
    files = FileDescriptorSet()
    validate_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    return files.SerializeToString()
