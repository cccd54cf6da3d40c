"""The settings for people: as the text of `--help`."""

import re
from collections.abc import Collection, Iterable
from textwrap import fill

from shared.settings.variables import Variable

USAGE = "Usage: python -m {module} [--help]"
CONFIGURED = (
    "The {reader}. It is configured by environment variables; an empty one counts as not set. "
    "`tandem config check` looks at all of them without a start."
)
INDENT = "    "


def usage(variables: Iterable[Variable], reader: str, width: int) -> str:
    """What a service says of itself, in lines of up to `width` characters."""
    first = USAGE.format(module=reader.replace(" ", "_"))
    configured = fill(CONFIGURED.format(reader=reader), width)
    return "\n\n".join([first, configured, listing(variables, (reader,), width)])


def listing(variables: Iterable[Variable], readers: Collection[str], width: int) -> str:
    """Each variable that one of the readers reads: its name, values, default, and what it does."""
    read = [each for each in variables if not set(readers).isdisjoint(each.setting.read_by)]
    return "\n".join(_entry(each, width) for each in read)


def default_in_words(variable: Variable) -> str:
    """The default, in Markdown."""
    return variable.setting.without or f"`{variable.default}`"


def _entry(variable: Variable, width: int) -> str:
    name = variable.name + (f", or {variable.file_name}" if variable.file_name else "")
    values = f"{variable.setting.form.words}; default: {default_in_words(variable)}"
    indented = [
        fill(plain(text), width, initial_indent=INDENT, subsequent_indent=INDENT)
        for text in (values, variable.setting.does)
    ]
    return "\n".join([name, *indented, ""])


def plain(markdown: str) -> str:
    """The text without marks of code and links, and without those in parentheses altogether."""
    without = re.sub(r" \(\[[^]]+\]\([^)]*\)\)", "", markdown)
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", without).replace("`", "")
