"""`tandem db`: the revision of the database's schema."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from cli.console import CommandError, say, show
from cli.database import database_url
from migrations import run as migrations
from shared.settings import load_settings

T = TypeVar("T")

app = typer.Typer(help="Migrate the database.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the database to the newest revision."""
    say(f"The database is at {_on_database(_upgrade)}.")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="revision to go back to; base: before the first")],
) -> None:
    """Take the database back to an older revision."""
    _on_database(lambda url: migrations.downgrade(url, revision))
    say(f"The database is at {revision}.")


@app.command()
def current() -> None:
    """Print the revision that the database is at; nothing before the first."""
    show(_on_database(migrations.current) or "")


def _upgrade(url: str) -> str | None:
    migrations.upgrade(url)
    return migrations.current(url)


def _on_database(work: Callable[[str], T]) -> T:
    with database_url(load_settings()) as url:
        try:
            return work(url)
        except migrations.MigrationError as error:
            raise CommandError(str(error)) from None
