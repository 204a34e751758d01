"""deploy/systemd by systemd's own checks; tests/platforms/test_systemd.py has the protocols it relies on."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from inference_service.settings import Settings

UNITS = Path(__file__).parent.parent.parent / "deploy" / "systemd"
SERVICE = (UNITS / "inference-service.service").read_text()


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not run: systemd-analyze missing (package systemd)")
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def option(name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", SERVICE, re.MULTILINE)
    return str(found)


def test_the_units_are_valid(tmp_path: Path) -> None:
    program = option("ExecStart").split()[0]
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace(program, "/bin/true"))
    found = analyze("verify", *map(str, sorted(tmp_path.iterdir())))
    assert (found.returncode, found.stderr) == (0, "")


def test_the_exposure_is_that_of_a_service_with_a_network_and_nothing_more() -> None:
    """Of 10.0; what is left is the network and /proc, which the service needs."""
    found = analyze(
        "security", "--offline=yes", "--threshold=15", str(UNITS / "inference-service.service")
    )
    assert found.returncode == 0, found.stdout[-2000:]


def test_systemd_waits_longer_than_the_service_drains() -> None:
    shutdown = Settings.model_fields["shutdown"].default
    assert float(option("TimeoutStopSec")) > shutdown.lame_duck + shutdown.grace_period + 3
    assert float(option("TimeoutStartSec")) > Settings.model_fields["runtime"].default.load_timeout
