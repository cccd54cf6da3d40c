"""Lists the settings as a Markdown table, for docs/configuration.md."""

from collections.abc import Iterable, Mapping

from shared.settings.listing import default_in_words
from shared.settings.variables import IN_FILE, OTHERS, OTHERS_IN_FILES, TESTS, Variable

HEAD = (
    "| variable | values | default | read by | what it does |",
    "| --- | --- | --- | --- | --- |",
)
OTHERS_HEAD = ("| variable | is |", "| --- | --- |")


def settings_table(variables: Iterable[Variable], others: Mapping[str, str] = OTHERS) -> str:
    """A line for each setting, and then for each variable beside them."""
    rest = [f"| {_names(name, name in OTHERS_IN_FILES)} | {others[name]} |" for name in others]
    tests = f"| `{TESTS}…` | for the tests of this project |"
    return "\n".join([*HEAD, *map(_row, variables), "", *OTHERS_HEAD, *rest, tests])


def _row(variable: Variable) -> str:
    setting = variable.setting
    names = _names(variable.name, setting.form.may_be_in_a_file)
    default, readers = default_in_words(variable), ", ".join(setting.read_by)
    return f"| {names} | {setting.form.words} | {default} | {readers} | {setting.does} |"


def _names(name: str, has_file: bool) -> str:
    return f"`{name}`, or `…{IN_FILE}`" if has_file else f"`{name}`"
