"""What `tandem up` shows once everything runs."""

import os
import secrets
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
A development token for the user {user}, good for {hours} hours:

{token}

Two calls to paste into another terminal, the second of which needs nothing installed:

grpcurl -plaintext -H 'authorization: Bearer {token}' \\
  {agent} tandem.agent.v1.AuthService/WhoAmI

{buf} curl --protocol grpc --http2-prior-knowledge -H 'authorization: Bearer {token}' \\
  -d '{{"project": {{"slug": "{slug}", "name": "My first project"}}}}' \\
  http://{agent}/tandem.agent.v1.ProjectService/CreateProject

Ctrl-C stops everything."""

HOW_TO_CALL = """\
`tandem token --user NAME` prints a token for a user that `tandem users create` made, where
TANDEM_JWT_SECRET is the key; with a public key or a JWKS URL, tokens come from their issuer.

Ctrl-C stops everything."""


def ready(settings: Settings, data: str) -> str:
    """The addresses, and where the data is."""
    return READY.format(
        agent_address=settings.agent_address, task_address=settings.task_address, data=data
    )


def calls(settings: Settings, user: str, token: str, hours: int) -> str:
    """A token, and two calls that work as they stand, on any number of starts."""
    return CALLS.format(
        user=user,
        hours=hours,
        token=token,
        agent=reachable(settings.agent_address),
        buf=_shortest(Path(sys.executable).with_name("buf")),
        slug=f"first-{secrets.token_hex(3)}",
    )


def _shortest(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)
