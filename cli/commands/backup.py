"""`tandem backup`: all data in a file."""

from pathlib import Path

import click

from cli.console import say, show
from shared.settings import load_settings


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def command(file: Path) -> None:
    """Write all data, as it is at one moment, into a new FILE.

    Services may go on meanwhile. The file is for `tandem restore` and for PostgreSQL's pg_restore.
    It has no secrets in clear, but all data of everybody: only its owner can read it. What signs
    tokens, TANDEM_JWT_SECRET or TANDEM_JWT_PRIVATE_KEY, is not in it: keep that apart.
    """
    from cli.backup import backup
    from cli.database import owner_url

    with owner_url(load_settings()) as url:
        revision = backup(url, file)
    say(f"{file.stat().st_size / 1e6:,.1f} MB, of revision {revision}.")
    show(str(file))
