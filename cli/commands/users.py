"""`tandem users`: the users who may call."""

import click

from cli import arguments
from cli.commands.identities import identities, link, unlink
from cli.console import show
from shared.settings import load_settings


@click.group("users")
def command() -> None:
    """Manage users."""


for identity_command in (link, unlink, identities):
    command.add_command(identity_command)


@command.command()
@click.argument("name", callback=arguments.user_name)
@click.option("--email", required=True, callback=arguments.email, help="Unique e-mail address.")
@click.option("--superuser", is_flag=True, help="Allow the user to do everything.")
def create(name: str, email: str, superuser: bool) -> None:
    """Create a user with a unique NAME.

    Prints its id. Superusers are created only here.
    """
    from cli.accounts import create_user
    from cli.database import database_url

    with database_url(load_settings()) as url:
        show(str(create_user(url, name, email, superuser=superuser)))
