"""The distribution: what is in it, what it needs, and that a program needs nothing else."""

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.client.test_generated_code import MODULES
from tests.client.test_readme import worked_example

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python"
UV = Path(sys.executable).with_name("uv")


class Built:
    """The client's wheel and sdist, and the server's wheel."""

    def __init__(self, folder: Path) -> None:
        build(CLIENT, folder / "client", "sdist", "wheel")
        build(ROOT, folder / "server", "wheel")
        (self.sdist,) = (folder / "client").glob("*.tar.gz")
        (self.wheel,) = (folder / "client").glob("*.whl")
        (self.server,) = (folder / "server").glob("*.whl")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the client, what it requires, and nothing else."""
    return environment(tmp_path_factory.mktemp("installed"), built.wheel)


def test_the_wheel_has_the_client_and_the_generated_code_and_nothing_else(built: Built) -> None:
    found = {name for name in names(built.wheel) if ".dist-info/" not in name}
    assert found == sources(CLIENT, "tandem_client") | sources(ROOT, "tandem")
    assert {"tandem/py.typed", "tandem_client/py.typed"} <= found


def test_the_sdist_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "again", "wheel")
    assert (tmp_path / "again" / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_server_and_client_have_no_file_in_common(built: Built) -> None:
    assert names(built.server) & names(built.wheel) == set()
    assert "agent_service/__main__.py" in names(built.server)


def test_only_the_server_is_kept_from_being_uploaded(built: Built) -> None:
    private = "Private :: Do Not Upload"
    assert private in metadata_of(built.server).get_all("Classifier", [])
    assert private not in metadata_of(built.wheel).get_all("Classifier", [])


def test_an_image_that_has_what_the_server_requires_has_what_the_client_does(built: Built) -> None:
    server, client = (set(required(requirements_of(w))) for w in (built.server, built.wheel))
    assert client <= server


def test_nothing_older_is_allowed_than_what_the_code_was_generated_for(built: Built) -> None:
    requirements = requirements_of(built.wheel)
    generated = "\n".join(path.read_text() for path in (ROOT / "tandem").rglob("*_pb2*.py"))
    (grpc_version,) = set(re.findall(r"GRPC_GENERATED_VERSION = '(.*)'", generated))
    (protobuf_version,) = set(re.findall(r"# Protobuf Python Version: (.*)", generated))
    assert f"grpcio>={grpc_version}" in requirements
    assert f"protobuf>={protobuf_version}" in requirements


def test_the_licence_is_the_projects() -> None:
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_what_it_requires_is_enough_to_import_it(installed: Path) -> None:
    layer = [f"tandem_client.{path.stem}" for path in (CLIENT / "tandem_client").glob("[!_]*.py")]
    assert imports(installed, "tandem_client", *layer, *MODULES)
    assert not imports(installed, "agent_service")


def test_the_two_wheels_are_enough_for_the_services(built: Built, tmp_path: Path) -> None:
    image = environment(tmp_path, built.server, built.wheel)
    assert imports(image, "agent_service.__main__", "task_service.__main__", "cli.main")


def test_a_program_that_uses_it_passes_a_strict_type_checker(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("types-grpcio", "types-protobuf"):
        link(name, installed)
    program = tmp_path / "example.py"
    program.write_text(worked_example()[0] + MISUSES)
    command = [sys.executable, "-m", "mypy", "--strict", f"--python-executable={installed}"]
    done = subprocess.run(
        [*command, f"--cache-dir={tmp_path}", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert found == ["attr-defined", "call-overload", "arg-type"], done.stdout


# What a type checker has to find: rows have types, a request belongs to its method, messages have
# fields of their types.
MISUSES = """

async def misuses(token: str) -> None:
    async with connect(credentials=Token(token)) as tandem:
        async for task in tandem.pages(tandem.tasks.ListTasks, pb.ListTasksRequest()):
            task.no_such_field
        tandem.pages(tandem.tasks.ListTasks, pb.GetTaskRequest())
        await tandem.tasks.GetTask(pb.GetTaskRequest(task_id=1))
"""


def build(source: Path, target: Path, *kinds: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", f"--directory={target}"]
    command += [option for kind in kinds for option in ("--target", kind)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def environment(folder: Path, *wheels: Path) -> Path:
    """Make an environment of wheels and of what they require; its Python."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    command = [UV, "pip", "install", "--quiet", "--offline", "--no-deps", f"--python={python}"]
    subprocess.run([*map(str, command), *map(str, wheels)], check=True)
    for wheel in wheels:
        for name in required(requirements_of(wheel)):
            link(name, python)
    return python


def imports(python: Path, *modules: str) -> bool:
    """Whether an environment's Python can import modules."""
    program = "; ".join(f"import {module}" for module in modules)
    return subprocess.run([python, "-I", "-c", program], check=False).returncode == 0


def metadata_of(wheel: Path) -> "Message[str, str]":
    (name,) = (name for name in names(wheel) if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(zipfile.ZipFile(wheel).read(name))


def requirements_of(wheel: Path) -> list[str]:
    return metadata_of(wheel).get_all("Requires-Dist", [])


def sources(folder: Path, package: str) -> set[str]:
    """The files of a package that belong into a wheel."""
    paths = (path.relative_to(folder) for path in (folder / package).rglob("*py*"))
    return {str(path) for path in paths if path.suffix in (".py", ".pyi", ".typed")}


def required(requirements: Iterable[str]) -> Iterator[str]:
    """The names of the distributions that are required, and of those that these require."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name
            yield from required(importlib.metadata.requires(requirement.name) or ())


def link(name: str, python: Path) -> None:
    """Let an environment have a distribution that this one has."""
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    distribution = importlib.metadata.distribution(name)
    for top in {path.parts[0] for path in distribution.files or ()} - {".."}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))
