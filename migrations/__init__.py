"""The history of the database schema, one change per file in `versions`, and what applies it.

Imports go one way: each module imports only from lines below its own.

    env
    run · doctor
    agent_com
    adopt · data_loss · transaction
    versions (loaded by Alembic; `doctor.dry_run` executes their queries)
    report
    inspect
    history
"""
