"""Makes the validation rules of our protos known to google.protobuf.

Generated modules import this name. protovalidate ships the rules' descriptor for a Protobuf runtime
of its own only, so it is copied from there into the pool that google.protobuf reads.
"""

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    timestamp_pb2,
)
from protovalidate import FieldPathPb

# The pool takes a file only after those that it imports; importing their modules adds them.
IMPORTS = (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2)

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(FieldPathPb.desc().file.proto.to_binary())
