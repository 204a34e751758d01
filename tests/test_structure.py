"""Imports point inwards, and the tail stays short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST_FUNCTION, LONGEST_CLASS, LONGEST_FILE, WIDEST_CONSTRUCTOR = 60, 250, 400, 8


def test_imports_point_inwards() -> None:
    """The contracts are in pyproject.toml."""
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_the_tail_stays_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name
            if node.name == "__init__":
                arguments = len(node.args.args) + len(node.args.kwonlyargs) - 1
                assert arguments <= WIDEST_CONSTRUCTOR
        elif isinstance(node, ast.ClassDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_CLASS, node.name
