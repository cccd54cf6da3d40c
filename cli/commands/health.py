"""`tandem health`: whether a service serves, for people and for health checks of containers."""

import click

from cli import arguments
from cli.console import show

FILE = click.Path(exists=True, dir_okay=False)
BY_TLS = "Ask by TLS, and trust these authorities (PEM). Each of these files has a variable, too."


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
@click.option("--tls-ca", envvar="TANDEM_CLIENT_TLS_CA", type=FILE, help=BY_TLS)
@click.option(
    "--tls-certificate", envvar="TANDEM_CLIENT_TLS_CERTIFICATE", type=FILE, help="Of the client."
)
@click.option("--tls-key", envvar="TANDEM_CLIENT_TLS_KEY", type=FILE, help="Of that certificate.")
@click.option("--tls-server-name", default="", help="In the certificate, if it is not the host.")
def command(
    address: str,
    service: str,
    timeout: float,
    tls_ca: str | None,
    tls_certificate: str | None,
    tls_key: str | None,
    tls_server_name: str,
) -> None:
    """Check whether a service serves.

    Prints SERVING if the server at ADDRESS (host:port) does. Otherwise the exit code is 1.
    """
    from cli.health import require_serving

    tls = None
    if tls_ca:
        from tandem_client.tls import Tls

        tls = Tls(tls_ca, tls_certificate, tls_key, tls_server_name)
    elif tls_certificate or tls_key or tls_server_name:
        raise click.UsageError("Without --tls-ca, TLS is not spoken.")
    require_serving(address, service, timeout, tls)
    show("SERVING")
