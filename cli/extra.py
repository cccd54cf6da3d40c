"""The extra `local`: what only `tandem up` and the embedded PostgreSQL need."""

from collections.abc import Iterator
from contextlib import contextmanager

from cli.console import CommandError

MODULES = ("psutil",)


@contextmanager
def needed_for(what: str) -> Iterator[None]:
    """Imports in this block are of the extra. Raises CommandError if it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in MODULES:
            raise
        raise CommandError(
            f"{what} needs the extra `local`, which is not installed: "
            "install requirements/local.txt, as `make run` does."
        ) from None
