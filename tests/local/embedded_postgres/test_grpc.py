"""A process that has used gRPC starts PostgreSQL like any other."""

import os
import subprocess
import sys

import pytest

# Calls are under way while programs are started as another account.
BUSY = """
import asyncio, pwd
from pathlib import Path
import grpc
from local.embedded_postgres.account import Account

nobody = pwd.getpwnam("nobody")
account = Account((nobody.pw_uid, nobody.pw_gid))

async def main():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = asyncio.gather(
            *(channel.unary_unary("/x/y")(b"") for _ in range(100)), return_exceptions=True
        )
        await asyncio.sleep(0.01)
        for _ in range(20):
            print(account.run(Path("/"), "/usr/bin/id", "-G"), end="")
        await calls
    await server.stop(None)

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as another account")
def test_programs_are_started_without_a_fork_of_grpc() -> None:
    # gRPC says at every fork that it cannot be forked.
    done = subprocess.run(
        [sys.executable, "-c", BUSY], capture_output=True, text=True, check=True, timeout=60
    )
    assert "fork" not in done.stderr
    assert len(set(done.stdout.splitlines())) == 1
    assert len(done.stdout.splitlines()) == 20
