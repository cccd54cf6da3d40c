"""Makes the rules that the protos state readable through google.protobuf.

protovalidate ships their descriptor for a Protobuf runtime of its own only, so it is copied from
there into the pool that google.protobuf reads. Until then they are unknown bytes in the options of
our descriptors, which a first look at the options would keep so: import this before you look.
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
