"""Imports point inwards, and the tail stays short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_FUNCTION, LONGEST_CLASS, LONGEST_FILE, WIDEST_CONSTRUCTOR = 60, 250, 400, 8
WIDEST_RECORD = 12
"""Fields of a dataclass or named tuple: its constructor takes each of them."""
WIDER = {
    "BatchRecord": 13,
    "Head": 13,
    "BatchPolicy": 64,  # all constants of the scheduler in one place, each with unit and reason
    "ModelInfo": 22,
    "Result": 13,
    "ImportRequest": 15,  # the options of the command
    "_Plain": 16,  # the fields of a cached finding, as they stand in its file
}
"""Records that are wider, with a bound that may only fall."""


def test_imports_point_inwards() -> None:
    """The contracts are in pyproject.toml."""
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
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


# What waits for another process, and the argument that bounds it; httpx's own bound, 5 s, is short
# for a busy machine.
WAITS = {
    "httpx.get", "httpx.post", "httpx.put", "httpx.request",
    "requests.get", "requests.post", "requests.put", "requests.delete", "requests.head",
    "requests.options", "requests.request", "socket.create_connection", "subprocess.run",
    "subprocess.check_call", "subprocess.check_output", "urllib.request.urlopen", "urlopen",
}  # fmt: skip
METHODS = {"join", "communicate", "wait"}


def unbounded(text: str) -> list[str]:
    """Calls that may wait for ever; what is awaited is bounded around it, or by pytest-timeout."""
    tree = ast.parse(text)
    awaits = [node for node in ast.walk(tree) if isinstance(node, ast.Await)]
    awaited = {id(inner) for node in awaits for inner in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in awaited:
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg for keyword in node.keywords} & {"timeout", None}  # None: **options
        method = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
        if (name in WAITS and not given) or (method and not node.args and not node.keywords):
            found.append(f"{name} in line {node.lineno}")
    return found


def test_unbounded_waits_are_seen() -> None:
    assert unbounded("requests.get(url)\nthread.join()\nprocess.wait()\nrun.communicate()") == [
        "requests.get in line 1", "thread.join in line 2", "process.wait in line 3",
        "run.communicate in line 4",
    ]  # fmt: skip
    assert unbounded("requests.get(url, timeout=1)\n','.join(a)\nawait b.wait()\nt.join(1)") == []


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT / "tests")))
def test_waits_of_tests_have_a_bound(path: Path) -> None:
    # This one runs in another environment, and is ended from outside.
    if path.name != "triton_server.py":
        assert unbounded(path.read_text()) == []
