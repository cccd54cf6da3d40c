"""`tandem config`: whether the configuration is sound."""

import shutil

import click

from cli.console import say, show


@click.group("config")
def command() -> None:
    """Look at the configuration."""


@command.command("check")
@click.option("--up", "for_up", is_flag=True, help="For `tandem up`, which makes what is missing.")
@click.pass_context
def check(context: click.Context, for_up: bool) -> None:
    """Check the environment without starting anything.

    Every setting is printed, with where it comes from, and secrets masked. Then follows everything
    that is wrong: values, names, files, keys, and each database that is named, if it does not
    answer, refuses the role or is at another revision. Addresses and the URLs of keys are not
    tried. Exit code 0: all is well; 1: it is not.
    """
    from cli import config_check

    text, problems = config_check.check(shutil.get_terminal_size((120, 24)).columns, for_up=for_up)
    show(text)
    for problem in problems:
        say(problem)
    context.exit(1 if problems else 0)
