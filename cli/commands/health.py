"""`tandem health`: whether a service serves, for people and for health checks of containers."""

import click

from cli import arguments
from cli.console import show


@click.command("health")
@click.argument("address", callback=arguments.address)
@click.option("--service", default="", help="Full name of a gRPC service; else the whole process.")
@click.option(
    "--timeout",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0, 3600, min_open=True),
    help="Seconds to wait for the answer.",
)
def command(address: str, service: str, timeout: float) -> None:
    """Check whether a service serves.

    Prints SERVING if the server at ADDRESS (host:port) does. Otherwise the exit code is 1.
    """
    from cli.health import require_serving

    require_serving(address, service, timeout)
    show("SERVING")
