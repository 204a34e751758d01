"""The HttpClient of a JDK, unmodified."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import RunningServer
from tests.tools import need

pytestmark = pytest.mark.java


def test_the_jdk_s_client_is_answered(zoo_server: RunningServer) -> None:
    """The golden bytes of its offer are in tests/web/test_http1.py."""
    need("java")
    url = zoo_server.url + "/v1/models/doubler/versions/1:predict"
    run = subprocess.run(
        ["java", str(Path(__file__).with_name("Ask.java")), url, '{"instances": [[1, 2, 3]]}'],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.stdout == '200 {"predictions":[[2.0,4.0,6.0]]}\n' * 3, run.stderr
