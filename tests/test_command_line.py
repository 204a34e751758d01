"""The commands as `inference-service --help` and docs/cli.md list them."""

import re
import signal
import subprocess
import sys
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


CTRL_C_DURING_THE_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(name, path, target=None):
        if name == "inference_service.cli.serve":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
from inference_service.__main__ import run
run()
"""


@pytest.mark.parametrize(
    ("ignored", "status"), [("", -signal.SIGINT), ("trap '' INT; ", 2)], ids=["heeded", "ignored"]
)
def test_ctrl_c_while_the_command_is_imported_leaves_no_trace(ignored: str, status: int) -> None:
    shell = ["/bin/sh", "-c", f'{ignored}exec "$@"', "sh"]
    done = subprocess.run(
        [*shell, sys.executable, "-c", CTRL_C_DURING_THE_IMPORT, "srve"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status
    assert "Traceback" not in done.stderr
