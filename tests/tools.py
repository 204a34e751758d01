"""External tools: a test that needs one says so, and is never silently skipped."""

import os
import shutil

import pytest


def need(*names: str) -> None:
    """Skip with the names of the missing tools; fail where REQUIRE_TOOLS says that they are here."""
    missing = [name for name in names if shutil.which(name) is None]
    if not missing:
        return
    message = f"not run: {', '.join(missing)} missing (scripts/install-test-tools installs it)"
    if os.environ.get("REQUIRE_TOOLS"):
        pytest.fail(message)
    pytest.skip(message)
