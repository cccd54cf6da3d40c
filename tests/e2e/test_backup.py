"""The data folder is destroyed, and a backup brings back what was in it."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.supervised import TANDEM, Surroundings
from tests.e2e.test_supervision import url
from tests.local.embedded_postgres.folders import ask, remove

PROJECTS = "SELECT array_agg(id::text) FROM projects"
LOGS = "SELECT array_agg(log_id::text) FROM event_heads"


def test_a_data_folder_that_is_gone_comes_back(tandem: Surroundings, tmp_path: Path) -> None:
    file = tmp_path / "tandem.backup"
    with tandem.up() as run:
        project = json.loads(run.ready().paste())
        command(tandem, "backup", str(file))  # of a server that runs
        logs: Any = ask(url(tandem), LOGS)
    remove(tandem.data_dir)
    command(tandem, "restore", str(file))
    with tandem.up() as run:
        run.ready()
        assert ask(url(tandem), PROJECTS) == [project["id"]]
        restored: Any = ask(url(tandem), LOGS)
        assert set(restored).isdisjoint(logs)
        assert json.loads(run.paste())["ownerId"] == project["ownerId"]
        run.stop()


def command(surroundings: Surroundings, *arguments: str) -> None:
    """Run `tandem`, which succeeds."""
    subprocess.run([TANDEM, *arguments], env=surroundings.environment, check=True)
