"""`tandem users`: who may call."""

from typing import Annotated

import typer

from cli import arguments
from cli.accounts import create_user
from cli.console import show
from cli.database import database_url
from shared.settings import load_settings

app = typer.Typer(help="Manage users.", no_args_is_help=True)


@app.callback()
def users() -> None:
    """Manage users."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="unique name", callback=arguments.user_name)],
    email: Annotated[str, typer.Option(help="unique address", callback=arguments.email)],
    superuser: Annotated[bool, typer.Option("--superuser", help="may do everything")] = False,
) -> None:
    """Create a user and print its id. Superusers are made only here."""
    with database_url(load_settings()) as url:
        show(str(create_user(url, name, email, superuser=superuser)))
