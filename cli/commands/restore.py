"""`tandem restore`: a backup becomes the database."""

from pathlib import Path

import click

from cli.console import say
from shared.settings import load_settings


@click.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(file: Path) -> None:
    """Bring the backup in FILE into a database without tables.

    The database is that of TANDEM_DATABASE_OWNER_URL or TANDEM_DATABASE_URL, or else the embedded
    one, which is made. All comes back or nothing. Each log of events becomes another one, so that
    clients notice that events are lost. After it, `tandem db upgrade`, which `tandem up` runs by
    itself, brings an older backup to the newest revision.
    """
    from cli.backup import restore
    from cli.database import owner_url

    with owner_url(load_settings()) as url:
        revision = restore(url, file)
    say(f"{file} was restored: the database is at {revision}.")
