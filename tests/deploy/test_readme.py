"""deploy/README.md has a row for everything that is there, and each row says what checks it."""

import re

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
DECISIONS = (DEPLOY / "README.md").read_text().partition("## ")[0]
TABLE = re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", DECISIONS, re.MULTILINE)[1:]


def test_every_folder_has_a_row() -> None:
    folders = {path.name for path in DEPLOY.iterdir() if path.is_dir()}
    linked = {name for _, use, _ in TABLE for name in re.findall(r"\]\((\w[\w-]*)", use)}
    assert folders - linked == set()


def test_every_row_says_what_checks_it() -> None:
    for what, _, checked in TABLE:
        assert "tests/" in checked or "not run" in checked, what
        for path in re.findall(r"tests/[\w/]+\.py", checked):
            assert (ROOT / path).exists(), path
