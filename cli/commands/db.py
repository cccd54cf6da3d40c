"""`tandem db`: the revision of the database's schema."""

import click

from cli.console import say, show
from shared.settings import load_settings


@click.group("db")
def command() -> None:
    """Migrate the database."""


@command.command()
@click.option(
    "--adopt",
    type=click.Choice(["agent_com"]),
    help="Adopt a database of this program, after listing what that does to it.",
)
@click.option("--yes", is_flag=True, help="Adopt without a question.")
def upgrade(adopt: str | None, yes: bool) -> None:
    """Upgrade the database to the newest revision."""
    from cli import schema
    from cli.database import owner_url

    with owner_url(load_settings()) as url:
        schema.upgrade(url, adopt=adopt is not None, yes=yes)
        say(f"The database is at {schema.current(url)}.")


@command.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Accept the loss of data, without a question.")
def downgrade(revision: str, yes: bool) -> None:
    """Downgrade the database to REVISION.

    The data that will be lost is listed first. The revision `base` is the one before the first,
    and `agent_com` stands for the tables that were adopted from it, which come back.
    """
    from cli import schema
    from cli.database import owner_url
    from cli.downgrade import downgrade

    with owner_url(load_settings()) as url:
        downgrade(url, revision, yes=yes)
        if revision == "agent_com":
            say("The tables of agent_com are back.")
        else:
            say(f"The database is at {schema.current(url) or 'base'}.")


@command.command()
def current() -> None:
    """Print the revision of the database; an empty line before the first."""
    from cli import schema
    from cli.database import owner_url

    with owner_url(load_settings()) as url:
        show(schema.current(url) or "")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Report what an upgrade would find and do.

    Nothing is changed. Exit code 0: nothing to do; 3: an upgrade can be run; 4: manual action is
    required.
    """
    from cli import doctor
    from cli.database import owner_url

    with owner_url(load_settings()) as url:
        diagnosis = doctor.examine(url)
    show(doctor.as_json(diagnosis) if as_json else doctor.as_text(diagnosis))
    context.exit(diagnosis.verdict.value)


@command.command()
def roles() -> None:
    """Make the owner of the tables and the role of the services.

    They are the roles of TANDEM_DATABASE_OWNER_URL and TANDEM_DATABASE_URL, with the passwords
    there. TANDEM_DATABASE_ADMIN_URL names who makes them, else the owner does. It can be repeated.
    """
    from cli.roles import make_roles

    for line in make_roles(load_settings()):
        show(line)


@command.command()
@click.option("--yes", is_flag=True, help="Go on without a question.")
@click.option("--force", is_flag=True, help="Go on although services are connected.")
def restored(yes: bool, force: bool) -> None:
    """Say that the database was restored from a backup.

    Each log of events becomes another one, so that clients notice that events are lost:
    what was read before is refused with LOG_REWOUND. Stop the services first.
    """
    from cli.database import owner_url
    from cli.restored import restored

    with owner_url(load_settings()) as url:
        count = restored(url, yes=yes, force=force)
    say(f"{count} log{'' if count == 1 else 's'} became another one.")
