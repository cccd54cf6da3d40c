"""`tandem db`: the revision of the database's schema."""

import click

from cli.console import say, show
from shared.settings import load_settings


@click.group("db")
def command() -> None:
    """Migrate the database."""


@command.command()
def upgrade() -> None:
    """Upgrade the database to the newest revision."""
    from cli import schema
    from cli.database import database_url

    with database_url(load_settings()) as url:
        schema.upgrade(url)
        say(f"The database is at {schema.current(url)}.")


@command.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Accept the loss of data, without a question.")
def downgrade(revision: str, yes: bool) -> None:
    """Downgrade the database to REVISION.

    The data that will be lost is listed first. The revision `base` is the one before the first.
    """
    from cli import schema
    from cli.database import database_url
    from cli.downgrade import downgrade

    with database_url(load_settings()) as url:
        downgrade(url, revision, yes=yes)
        say(f"The database is at {schema.current(url) or 'base'}.")


@command.command()
def current() -> None:
    """Print the revision of the database; an empty line before the first."""
    from cli import schema
    from cli.database import database_url

    with database_url(load_settings()) as url:
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
    from cli.database import database_url

    with database_url(load_settings()) as url:
        diagnosis = doctor.examine(url)
    show(doctor.as_json(diagnosis) if as_json else doctor.as_text(diagnosis))
    context.exit(diagnosis.verdict.value)
