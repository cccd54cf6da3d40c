"""The generated code needs no protovalidate, and does not mind one: each in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "tandem").rglob("*_pb2*.py")
)
RULES = "buf/validate/validate.proto"

GENERATED = "\n".join(f"import {module}" for module in MODULES)
PROTOVALIDATE = "import protovalidate"
# What another package brings that has generated code for the rules: of another release than ours.
OTHER_RULES = f"""
import protovalidate
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
file = descriptor_pb2.FileDescriptorProto.FromString(
    protovalidate.FieldPathPb.desc().file.proto.to_binary()
)
file.message_type.add(name="OfAnotherRelease")
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
descriptor_pool.Default().FindFileByName("{RULES}")
"""
VALIDATES = """
import protovalidate
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest
request = CreateAgentRequest(agent=Agent(name="x" * 256), request_id="no UUID")
print(*sorted(violation.proto.rule_id for violation in protovalidate.collect_violations(request)))
"""


def test_it_needs_neither_protovalidate_nor_its_rules() -> None:
    assert len(MODULES) >= 12
    names = "{name.partition('.')[0] for name in sys.modules} & {'buf', 'protovalidate'}"
    assert run(f"import sys\n{GENERATED}\nprint({names})") == "set()"
    assert run(f"{GENERATED}\n{pool_has_rules()}") == "False"


@pytest.mark.parametrize("other", [PROTOVALIDATE, OTHER_RULES], ids=["protovalidate", "rules"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_rules_that_another_package_brings_go_with_it(other: str, first: bool) -> None:
    imports = (other, GENERATED) if first else (GENERATED, other)
    assert run("\n".join([*imports, VALIDATES])) == "string.max_len string.uuid"


def pool_has_rules() -> str:
    """The end of a program that prints whether google.protobuf knows the rules."""
    return f"""
from google.protobuf import descriptor_pool
try:
    print(bool(descriptor_pool.Default().FindFileByName("{RULES}")))
except KeyError:
    print(False)
"""


def run(program: str) -> str:
    """What a program prints."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
