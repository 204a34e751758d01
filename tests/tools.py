"""External tools: a test that needs one says so, and is never silently skipped."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

TOOLS = Path(__file__).parent.parent / ".tools"


def path_of(name: str) -> str | None:
    """Where a program is: on the path, or where scripts/install-test-tools puts some."""
    return shutil.which(name) or shutil.which(name, path=str(TOOLS))


def need(*names: str) -> None:
    """Skip with the names of the missing tools; fail where REQUIRE_TOOLS says that they are here."""
    _check([name for name in names if path_of(name) is None])


def need_file(path: Path) -> None:
    """The same for a file that scripts/install-test-tools makes."""
    _check([] if path.exists() else [str(path.relative_to(TOOLS.parent))])


def need_package(*names: str) -> None:
    """The same for Python packages of requirements-dev.lock or of scripts/import-tests."""
    _check([name for name in names if importlib.util.find_spec(name) is None])


def _check(missing: list[str]) -> None:
    if not missing:
        return
    message = f"not run: {', '.join(missing)} missing (scripts/install-test-tools installs it)"
    if os.environ.get("REQUIRE_TOOLS"):
        pytest.fail(message)
    pytest.skip(message)
