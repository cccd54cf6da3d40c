"""`tandem token`: a JWT for a user, where this machine holds the key to sign one."""

from typing import Annotated
from uuid import UUID

import typer

from cli import arguments
from cli.accounts import find_or_create_user, find_user
from cli.console import CommandError, show
from cli.database import database_url
from cli.secret import development_secret
from shared.auth.signing import sign_user_token
from shared.settings import Settings, load_settings


def token(
    user: Annotated[str, typer.Option(help="name of the user", callback=arguments.user_name)],
    ttl: Annotated[str, typer.Option(help="lifetime: 90s, 30m, 12h, 7d")] = "12h",
) -> None:
    """Print a development token for a user; the embedded database gets the user if need be."""
    lifetime = arguments.lifetime(ttl)
    settings = load_settings()
    secret = development_secret(settings)
    with database_url(settings) as url:
        user_id = _user_id(settings, url, user)
    show(sign_user_token(settings, secret, user_id, lifetime))


def _user_id(settings: Settings, url: str, name: str) -> UUID:
    if not settings.database_url:
        return find_or_create_user(url, name)
    if user_id := find_user(url, name):
        return user_id
    raise CommandError(f"There is no user {name}: `tandem users create` makes one.")
