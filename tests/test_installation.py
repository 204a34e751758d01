"""What the documents and messages tell people to install exists, and is ours."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOLDERS = ("docs", "src", "scripts", "models", "benchmarks", "deploy")
SUFFIXES = {".md", ".py", ".toml", ".yaml", ".html", ".sh", ""}
_INSTALL = re.compile(r"pip3? install ([^`\n&|;]+)")
_TAKEN = {"inference-service", "inference_service"}
"""On the public index it is somebody else's."""


def texts() -> Iterator[Path]:
    yield from (
        ROOT / name for name in ("README.md", "CHANGELOG.md", "Dockerfile", "pyproject.toml")
    )
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                yield path


def commands() -> list[tuple[str, str]]:
    found = []
    for path in texts():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        where = str(path.relative_to(ROOT))
        found += [(where, one.split(">&")[0].rstrip('"\\ ')) for one in _INSTALL.findall(text)]
    return found


@pytest.mark.parametrize(("where", "arguments"), commands())
def test_nobody_is_told_to_install_a_stranger_s_package(where: str, arguments: str) -> None:
    words = shlex.split(arguments.replace("{extra}", "image"), comments=True)
    for word in words:
        name, _, extras = word.partition("[")
        assert name not in _TAKEN, where
        assert name != PROJECT["name"], f"{where}: it is not on the index"
        if extras and name == ".":
            for extra in extras.rstrip("].,").split(","):
                assert extra in PROJECT["optional-dependencies"], where


def test_some_commands_were_found() -> None:
    assert len(commands()) >= 8


def test_all_extras_for_serving_are_in_one() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    name, _, extras = everything.partition("[")
    assert name == PROJECT["name"]
    others = {
        extra for extra in PROJECT["optional-dependencies"] if not extra.startswith("import")
    } - {"all", "dev", "train"}
    assert set(extras.rstrip("]").split(",")) == others


def test_the_command_and_the_package_keep_their_names() -> None:
    assert PROJECT["name"] not in _TAKEN
    assert PROJECT["scripts"] == {"inference-service": "inference_service.__main__:run"}
