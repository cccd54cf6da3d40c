"""What is known of each variable: for those who set it, and for what reads it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from shared.settings.forms import Form, SecretStr

PREFIX = "TANDEM_"
IN_FILE = "_FILE"

# Who reads a setting, as the manual and the `--help` of each say.
AGENTS = "agent service"
TASKS = "task service"
UP = "`tandem up`"
SERVICES = (AGENTS, TASKS)

# Variables with the prefix that are no settings of a process, and what they are for.
OTHERS = {
    "TANDEM_API_KEY": "the API key with which `tandem tasks` calls",
    "TANDEM_TOKEN": "the token with which `tandem tasks` calls",
    "TANDEM_OWNER_PASSWORD": "the password of the owner's role, for `docker-compose.yml`",
    "TANDEM_SERVICE_PASSWORD": "the password of the services' role, for `docker-compose.yml`",
    "TANDEM_SUPERVISOR_FD": "set by `tandem up` for the services, which end with it",
}
OTHERS_IN_FILES = ("TANDEM_API_KEY", "TANDEM_TOKEN")
# The tests of the project have variables of their own.
TESTS = "TANDEM_TEST_"


@dataclass(frozen=True)
class Setting:
    """What the manual says of a setting. Its texts are Markdown, with links relative to docs/.

    `without` says what holds if it is not set; "" if that is its default.
    """

    form: Form
    read_by: Sequence[str]
    does: str
    without: str = ""


@dataclass(frozen=True)
class Variable:
    """A setting with its name in the environment, its field in Settings, and its default."""

    name: str
    field: str
    setting: Setting
    default: Any
    is_secret: bool

    @property
    def file_name(self) -> str | None:
        """The variable that can name a file with the value."""
        return self.name + IN_FILE if self.setting.form.may_be_in_a_file else None


def variables(settings: type[Any]) -> list[Variable]:
    """The fields of a dataclass, whose annotations have a Setting each."""
    hints = get_type_hints(settings, include_extras=True)
    return [_variable(field.name, hints[field.name], field.default) for field in fields(settings)]


def _variable(field: str, hint: Any, default: Any) -> Variable:
    (setting,) = hint.__metadata__
    secret = SecretStr in (hint.__origin__, *getattr(hint.__origin__, "__args__", ()))
    return Variable(PREFIX + field.upper(), field, setting, default, secret)
