"""`tandem users link`, `unlink` and `identities`: who the subjects of other issuers are."""

from collections.abc import Callable

import click

from cli import arguments
from cli.console import CommandError, show
from shared.settings import Settings, load_settings


def _identity(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name an identity."""
    for option in (
        click.option(
            "--subject",
            required=True,
            callback=arguments.identity,
            help="The subject of its tokens: `sub`, or the claim that is configured.",
        ),
        click.option(
            "--issuer",
            required=True,
            callback=arguments.identity,
            help="The `iss` of its tokens, character for character.",
        ),
        click.argument("name", callback=arguments.user_name),
    ):
        command = option(command)
    return command


@click.command("link")
@_identity
def link(name: str, issuer: str, subject: str) -> None:
    """Let a subject of another issuer call as the user NAME.

    Links nothing if the subject is linked to another user.
    """
    from cli.accounts import link_identity
    from cli.database import database_url

    settings = load_settings()
    _require_another(settings, issuer)
    with database_url(settings) as url:
        link_identity(url, name, issuer, subject)


@click.command("unlink")
@_identity
def unlink(name: str, issuer: str, subject: str) -> None:
    """Let a subject no longer call as the user NAME; it is out within seconds."""
    from cli.accounts import unlink_identity
    from cli.database import database_url

    with database_url(load_settings()) as url:
        unlink_identity(url, name, issuer, subject)


@click.command("identities")
@click.argument("name", callback=arguments.user_name)
def identities(name: str) -> None:
    """List the identities of the user NAME: issuer and subject, one on a line."""
    from cli.accounts import identities_of
    from cli.database import database_url

    with database_url(load_settings()) as url:
        for issuer, subject in identities_of(url, name):
            show(f"{issuer} {subject}")


def _require_another(settings: Settings, issuer: str) -> None:
    if issuer == settings.jwt_issuer:
        raise CommandError(
            "Tokens of our own issuer (TANDEM_JWT_ISSUER) name the ids of users: they need no link."
        )
