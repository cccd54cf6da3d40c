"""The gRPC server: what happens around every call, health, statuses."""
