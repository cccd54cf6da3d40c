"""Connections by TLS, from the files of an operator."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import grpc

File: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True)
class Tls:
    """Which servers are trusted, and what proves who the client is. All files are PEM.

    ca: the authorities of the services. Default: those that gRPC brings.
    certificate, key: of the client, if the services ask for one.
    server_name: in the certificates of the services, if it is not the host of their addresses.
    """

    ca: File | None = None
    certificate: File | None = None
    key: File | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files, once. Raises OSError, or ValueError if one of a pair is missing."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("A certificate and its key belong together.")
        ca, certificate, key = (
            Path(file).read_bytes() if file else None
            for file in (self.ca, self.certificate, self.key)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)

    @property
    def options(self) -> list[tuple[str, Any]]:
        """The channel options that it needs."""
        name = self.server_name
        return [("grpc.ssl_target_name_override", name)] if name else []
