"""Imports point inwards, and the tail stays short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST_FUNCTION, LONGEST_CLASS, LONGEST_FILE, WIDEST_CONSTRUCTOR = 60, 250, 400, 8
WIDEST_RECORD = 12
"""Fields of a dataclass or named tuple: its constructor takes each of them."""
WIDER = {
    "BatchPolicy": 64,  # all constants of the scheduler in one place, each with unit and reason
    "LoadOptions": 28,
    "ModelInfo": 21,
    "Result": 13,
}
"""Records that are wider, with a bound that may only fall."""


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
            widest = WIDER.get(node.name, WIDEST_RECORD)
            assert len(fields(node)) <= widest, node.name


def fields(node: ast.ClassDef) -> list[str]:
    """What the generated constructor of a dataclass or named tuple takes; others have none."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    bases = [ast.unparse(base) for base in node.bases]
    if "NamedTuple" not in bases and not any("dataclass" in one for one in decorators):
        return []
    return [
        ast.unparse(item.target)
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and not ast.unparse(item.annotation).startswith("ClassVar")
        and "init=False" not in ast.unparse(item.value or item.annotation)
    ]


def test_fields_of_records_are_seen() -> None:
    text = """
@dataclass(frozen=True)
class Record:
    one: int
    two: int = field(default=2)
    kind: ClassVar[str] = ""
    made: int = field(init=False)
class Pair(NamedTuple):
    left: int
    right: int = 0
class Plain:
    one: int = 1
"""
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    assert [fields(node) for node in classes] == [["one", "two"], ["left", "right"], []]
