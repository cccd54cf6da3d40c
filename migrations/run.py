"""Migrates a database from one revision to another, in one transaction."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from migrations.adopt.adoption import adopt
from migrations.agent_com.conversion import (
    adopt_agent_com,
    move_back,
    refuse_agent_com,
    require_tables_aside,
)
from migrations.agent_com.examination import Examination
from migrations.agent_com.tables import AGENT_COM
from migrations.data_loss import DataLoss, count_data_loss, lock_dropped, log_data_loss
from migrations.table_access import limit_access
from migrations.transaction import in_transaction, lock_out_other_migrators

SCRIPTS = Path(__file__).parent


def upgrade(database_url: str, revision: str = "head") -> None:
    """Upgrade to `revision`, in one transaction, after any other migrator has finished.

    Base tables that another program created are adopted if they match. Blocks and raises as
    `in_transaction` does.
    """

    def work(connection: Connection) -> None:
        lock_out_other_migrators(connection)
        refuse_agent_com(connection)
        config = _config(connection)
        adopt(connection, ScriptDirectory.from_config(config))
        command.upgrade(config, revision)
        limit_access(connection)

    in_transaction(database_url, work)


def adopt_from_agent_com(database_url: str, review: Callable[[Examination], None]) -> None:
    """Adopt a database of agent_com and upgrade it to the newest revision, in one transaction.

    First `review` is called with what will be done, after the tables are locked. If it raises,
    nothing is changed. Blocks and raises as `in_transaction`.
    """

    def work(connection: Connection) -> None:
        lock_out_other_migrators(connection)
        config = _config(connection)
        adopt_agent_com(connection, partial(command.upgrade, config), review)
        limit_access(connection)

    in_transaction(database_url, work)


def downgrade(
    database_url: str, revision: str, review: Callable[[list[DataLoss]], None] = log_data_loss
) -> None:
    """Downgrade to `revision` (`base`: before the first; `agent_com`: the tables adopted from it).

    First `review` is called with the data that the older schema cannot store, after the tables
    concerned are locked. If it raises, nothing is changed. Blocks and raises as `in_transaction`.
    """

    def work(connection: Connection) -> None:
        lock_out_other_migrators(connection)
        undone = _undone(connection, revision)
        lock_dropped(connection, undone)
        review(count_data_loss(connection, undone))
        if revision == AGENT_COM:
            command.downgrade(_config(connection), "base")
            move_back(connection)
        else:
            command.downgrade(_config(connection), revision)

    in_transaction(database_url, work)


def data_loss(database_url: str, revision: str) -> list[DataLoss]:
    """What `downgrade` would lose if it ran now. Locks nothing. Raises as `upgrade` does."""
    return in_transaction(
        database_url, lambda connection: count_data_loss(connection, _undone(connection, revision))
    )


def current(database_url: str) -> str | None:
    """The revision of the database, None before the first. Does not wait for a migrator."""
    return in_transaction(database_url, _revision_of)


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _undone(connection: Connection, revision: str) -> list[Any]:
    """The modules of the revisions that a downgrade to `revision` undoes, newest first."""
    if revision == AGENT_COM:
        require_tables_aside(connection)
        revision = "base"
    history = ScriptDirectory.from_config(_config(connection))
    undone = history.iterate_revisions(
        _revision_of(connection), revision, select_for_downgrade=True
    )
    return [script.module for script in undone]


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
