"""The places of an embedded PostgreSQL: its data, its log, its password and its port."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from local.embedded_postgres.account import Account, account_for
from shared.host.embedded_postgres import (
    CLUSTER,
    ID_FILE,
    OWNER,
    OWNER_FILE,
    PORT_FILE,
    SERVICE,
    SYSTEM_ROOT,
    EmbeddedPostgresError,
    folder_of_cluster,
    read_record,
)
from shared.host.private_files import (
    FOLDER_MODE,
    keep_private,
    located,
    make_folder,
    open_folder,
    read_private,
    write_whole,
)


@dataclass(frozen=True)
class Home:
    """The places of one embedded PostgreSQL.

    `data_dir` is the caller's and has the small files. `folder` has the cluster; it is another one
    only if the account that PostgreSQL runs as cannot reach `data_dir`.
    """

    data_dir: Path
    folder: Path
    account: Account

    @property
    def cluster(self) -> Path:
        return self.folder / CLUSTER

    @property
    def log(self) -> Path:
        return self.data_dir / "postgres.log"

    @property
    def port_file(self) -> Path:
        """Its existence also says that the cluster was complete once."""
        return self.data_dir / PORT_FILE

    def password(self) -> str:
        """The password of OWNER, made before there is a cluster.

        Raises EmbeddedPostgresError if there is a cluster and its password is gone.
        """
        path = self.data_dir / OWNER.password_file
        if self.cluster.exists() and not path.exists():
            raise EmbeddedPostgresError(
                f"{path} is gone, and the database in {self.cluster} needs that password: "
                "put it back."
            )
        return keep_private(path, _new_password)

    def service_password(self) -> str:
        """The password of SERVICE. One that is gone can be replaced: each start sets it."""
        return keep_private(self.data_dir / SERVICE.password_file, _new_password)

    def port(self) -> int | None:
        """The port that was used last; None also if a full disk or a crash left no number."""
        text = read_private(self.port_file) if self.port_file.exists() else ""
        return int(text) if text.isdecimal() else None

    def keep_port(self, port: int) -> None:
        write_whole(self.port_file, str(port))

    def major(self) -> int | None:
        """The major version of PostgreSQL that made the cluster; None if there is none yet."""
        recorded = read_record(self.cluster, "PG_VERSION")
        return int(recorded) if recorded.strip().isdecimal() else None


def _new_password() -> str:
    return secrets.token_urlsafe(32)


def existing_home(data_dir: Path) -> Home | None:
    """The home whose cluster exists; None if none was made yet.

    Raises EmbeddedPostgresError if one was made and is gone: an empty one in its place would look
    like lost data.
    """
    data_dir = located(data_dir)
    folder = folder_of_cluster(data_dir)
    home = Home(data_dir, folder, account_for(folder / CLUSTER))
    if home.cluster.exists():
        return home
    if home.port_file.exists():
        raise EmbeddedPostgresError(
            f"The database that {data_dir} belongs to is gone from {home.cluster}: "
            f"put it back, or remove {data_dir} to begin with an empty one."
        )
    return None


def locate_or_create(data_dir: Path) -> Home:
    """The existing home, or a place for a new one; `data_dir` is created if it is missing.

    Raises EmbeddedPostgresError, and UnsafeFileError if other accounts can change the folder.
    """
    data_dir = located(data_dir)
    make_folder(data_dir)
    home = existing_home(data_dir) or _new_home(data_dir)
    require_reachable(home)
    return home


def require_reachable(home: Home) -> None:
    """Raise EmbeddedPostgresError if the account cannot reach its cluster."""
    if not home.account.can_enter(home.folder):
        raise EmbeddedPostgresError(
            f"The account that PostgreSQL runs as cannot enter {home.folder}: "
            "move it, or set TANDEM_DATA_DIR to a folder that it can reach."
        )


def _new_home(data_dir: Path) -> Home:
    account = account_for(data_dir / CLUSTER)
    folder = folder_of_cluster(data_dir)
    if folder == data_dir or not folder.exists():
        folder = data_dir if account.can_enter(data_dir) else _new_system_folder(data_dir)
    return Home(data_dir, folder, account)


def _new_system_folder(data_dir: Path) -> Path:
    """A new folder that every account can enter; its random name is recorded in `data_dir`."""
    identity = secrets.token_hex(8)
    folder = system_root() / identity
    folder.mkdir(FOLDER_MODE)
    folder.chmod(FOLDER_MODE)  # also if the umask is stricter: the account must reach it
    write_whole(folder / OWNER_FILE, str(data_dir))
    write_whole(data_dir / ID_FILE, identity)
    return folder


def system_root() -> Path:
    """The folder for what cannot be in a data folder.

    Raises UnsafeFileError if others could change it.
    """
    if not SYSTEM_ROOT.exists():
        make_folder(SYSTEM_ROOT)
        SYSTEM_ROOT.chmod(FOLDER_MODE)
    with open_folder(SYSTEM_ROOT):
        return SYSTEM_ROOT
