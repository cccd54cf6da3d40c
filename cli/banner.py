"""What `tandem up` prints when everything runs."""

import os
import secrets
import shlex
import sys
from pathlib import Path

from local.addresses import reachable
from shared.settings import Settings

READY = """\

Tandem is ready.
  agents, projects, callers   {agent_address}
  tasks                       {task_address}
  data                        {data}
"""

CALLS = """\
A development token for the user {user}, valid for {hours} hours:

{token}

Two calls to paste into another terminal; the second one needs nothing else installed:

grpcurl {security} -H 'authorization: Bearer {token}' \\
  {agent} tandem.agent.v1.AuthService/WhoAmI

{buf} curl --protocol grpc {buf_security} -H 'authorization: Bearer {token}' \\
  -d '{{"project": {{"slug": "{slug}", "name": "My first project"}}}}' \\
  {scheme}://{agent}/tandem.agent.v1.ProjectService/CreateProject

Ctrl-C stops everything."""

HOW_TO_CALL = """\
If TANDEM_JWT_SECRET is set, `tandem token --user NAME` prints a token for a user
created by `tandem users create`. With a public key or a JWKS URL, tokens come from the issuer.

Ctrl-C stops everything."""


def ready(settings: Settings, data: str) -> str:
    """The addresses, and the place of the data."""
    return READY.format(
        agent_address=settings.agent_address, task_address=settings.task_address, data=data
    )


def calls(settings: Settings, user: str, token: str, hours: int) -> str:
    """A token, and two calls that can be pasted as they are, after every start."""
    return CALLS.format(
        user=user,
        hours=hours,
        token=token,
        agent=reachable(settings.agent_address),
        buf=_shortest(Path(sys.executable).with_name("buf")),
        **_security(settings),
        slug=f"first-{secrets.token_hex(3)}",
    )


def _security(settings: Settings) -> dict[str, str]:
    """The options of both programs by which they call the agent service."""
    if not settings.agent_tls_certificate:
        plain = {"security": "-plaintext", "buf_security": "--http2-prior-knowledge"}
        return {**plain, "scheme": "http"}
    files = {
        "cacert": settings.client_tls_ca,
        "cert": settings.client_tls_certificate,
        "key": settings.client_tls_key,
    }
    options = [f"-{name} {shlex.quote(str(path))}" for name, path in files.items() if path]
    return {
        "security": " ".join(options),
        "buf_security": " ".join(f"-{option}" for option in options),
        "scheme": "https",
    }


def _shortest(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)
