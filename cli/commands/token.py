"""`tandem token`: a JWT for a user, if this machine has the key to sign one."""

from datetime import timedelta
from uuid import UUID

import click

from cli import arguments
from cli.console import CommandError, show
from shared.settings import Settings, load_settings


@click.command("token")
@click.option("--user", required=True, callback=arguments.user_name, help="Name of the user.")
@click.option(
    *("--ttl", "lifetime"),
    default="12h",
    show_default=True,
    callback=arguments.lifetime,
    help="Lifetime: 90s, 30m, 12h, 7d.",
)
def command(user: str, lifetime: timedelta) -> None:
    """Print a development token for a user.

    The user is created if the database is the embedded one.
    """
    from cli.database import database_url
    from cli.secret import development_secret
    from shared.auth.signing import sign_user_token

    settings = load_settings()
    secret = development_secret(settings)
    with database_url(settings) as url:
        user_id = _user_id(settings, url, user)
    show(sign_user_token(settings, secret, user_id, lifetime))


def _user_id(settings: Settings, url: str, name: str) -> UUID:
    from cli.accounts import find_or_create_user, find_user

    if not settings.database_url:
        return find_or_create_user(url, name)
    if user_id := find_user(url, name):
        return user_id
    raise CommandError(f"There is no user {name}: `tandem users create` creates one.")
