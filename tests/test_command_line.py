"""The commands as `inference-service --help` and docs/cli.md list them."""

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from inference_service.cli import main
from tests.conftest import ROOT


def named(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from named(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_the_page_about_the_command_line_lists_every_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    listed = {
        re.sub(r" [\[A-Z].*", "", name)
        for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
        for name in re.findall("`(.*?)`", row)
    }
    assert set(named(main)) <= listed


@pytest.mark.parametrize("path", [[], ["keys"]])
def test_the_lists_of_commands_are_cut_nowhere(path: list[str]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"], terminal_width=80).output
    assert "..." not in shown.partition("Commands:")[2]
