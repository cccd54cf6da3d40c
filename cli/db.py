"""`tandem db`: the revision of the database's schema."""

from typing import Annotated

import typer

from cli import schema
from cli.console import say, show
from cli.database import database_url
from shared.settings import load_settings

app = typer.Typer(help="Migrate the database.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the database to the newest revision."""
    with database_url(load_settings()) as url:
        schema.upgrade(url)
        say(f"The database is at {schema.current(url)}.")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="revision to go back to; base: before the first")],
    yes: Annotated[
        bool, typer.Option("--yes", help="lose what the older schema cannot hold")
    ] = False,
) -> None:
    """Take the database back to an older revision, after a list of what that one cannot hold."""
    from cli.downgrade import downgrade  # which imports Alembic, and that takes its time

    with database_url(load_settings()) as url:
        downgrade(url, revision, yes=yes)
        say(f"The database is at {schema.current(url) or 'its beginning'}.")


@app.command()
def current() -> None:
    """Print the revision that the database is at; an empty line before the first."""
    with database_url(load_settings()) as url:
        show(schema.current(url) or "")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Say what an upgrade would find and do, changing nothing.

    Exit code 0: nothing to do; 3: an upgrade takes care of it; 4: a person has to.
    """
    from cli import doctor  # which imports Alembic

    with database_url(load_settings()) as url:
        report = doctor.examine(url)
    show(doctor.as_json(report) if as_json else doctor.as_text(report))
    raise typer.Exit(report.verdict.value)
