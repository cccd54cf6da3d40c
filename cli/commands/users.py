"""`tandem users`: the users who may call."""

from typing import Any

import click

from cli import arguments
from cli.commands.identities import identities, link, unlink
from cli.console import say, show
from shared.settings import load_settings

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


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
    """Create a user with a unique NAME. Prints its id."""
    from cli.accounts import create_user
    from cli.database import database_url

    with database_url(load_settings()) as url:
        show(str(create_user(url, name, email, superuser=superuser)))


@command.command("list")
@as_json
def list_users(as_json: bool) -> None:
    """List the users."""
    from cli import users
    from cli.database import database_url

    with database_url(load_settings()) as url:
        found = users.everyone(url)
    show(users.as_json(found) if as_json else users.as_table(found))


@command.command("show")
@click.argument("name")
@as_json
def show_user(name: str, as_json: bool) -> None:
    """Show the user NAME."""
    from cli import users
    from cli.database import database_url

    with database_url(load_settings()) as url:
        user = users.one(url, name)
    show(users.as_json(user) if as_json else users.as_text(user))


@command.command()
@click.argument("name")
@click.option(
    "--name", "username", callback=arguments.if_given(arguments.user_name), help="New name."
)
@click.option("--email", callback=arguments.if_given(arguments.email), help="New e-mail address.")
@click.option(
    "--full-name", callback=arguments.if_given(arguments.full_name), help="Or '' for none."
)
def update(name: str, **options: str | None) -> None:
    """Change the name or the address of the user NAME."""
    given = {column: value for column, value in options.items() if value is not None}
    if not given:
        raise click.UsageError("Say what to change: --name, --email or --full-name.")
    _change(name, "is changed", **{column: value or None for column, value in given.items()})


@command.command()
@click.argument("name")
def activate(name: str) -> None:
    """Let the user NAME call again."""
    _change(name, "may call", is_active=True)


@command.command()
@click.argument("name")
def deactivate(name: str) -> None:
    """Let the user NAME no longer call; what is assigned to it stays so."""
    _change(name, "is out within seconds", is_active=False)


@command.command()
@click.argument("name")
@click.argument("state", type=click.Choice(["on", "off"]))
def superuser(name: str, state: str) -> None:
    """Allow the user NAME to do everything, or no longer."""
    is_on = state == "on"
    _change(name, f"is {'a' if is_on else 'no'} superuser", is_superuser=is_on)


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete the user without a question.")
def delete(name: str, yes: bool) -> None:
    """Delete the user NAME, unassign its tasks and end its memberships.

    The projects that it owns must be transferred or deleted first.
    """
    from cli import users
    from cli.database import database_url

    with database_url(load_settings()) as url:
        users.delete(url, name, yes=yes)
    say(f"The user {name} is deleted.")


def _change(name: str, done: str, **values: Any) -> None:
    from cli import users
    from cli.database import database_url

    with database_url(load_settings()) as url:
        user = users.change(url, name, **values)
    say(f"The user {user['username']} {done}.")
