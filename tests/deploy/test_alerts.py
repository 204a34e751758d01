"""Rules and alerts of deploy/prometheus: valid, each fires and stays silent as it should, each has a
page that says what to do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.alerts import CASES, STEPS, promtool_tests
from tests.tools import need

FOLDER = ROOT / "deploy" / "prometheus"
FILES = [FOLDER / "recording.yml", FOLDER / "alerts.yml"]


def read(path: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(path.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in read(FOLDER / "alerts.yml")}


def promtool(*arguments: str | Path) -> str:
    need("promtool")
    run = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, timeout=240
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.prometheus
def test_the_configuration_and_the_rules_are_valid() -> None:
    told = promtool("check", "config", FOLDER / "prometheus.yml")
    assert "2 rule files found" in told


@pytest.mark.prometheus
@pytest.mark.parametrize("step", STEPS)
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path, step: int) -> None:
    """promtool compares annotations, too, where there are any: their words are not tested here."""
    files = []
    for path in FILES:
        content = yaml.safe_load(path.read_text())
        for group in content["groups"]:
            for rule in group["rules"]:
                rule.pop("annotations", None)
        files.append(str(tmp_path / path.name))
        Path(files[-1]).write_text(yaml.safe_dump(content))
    cases = tmp_path / "cases.yml"
    cases.write_text(yaml.safe_dump(promtool_tests(step, files, ALERTS)))
    promtool("test", "rules", cases)


def test_each_alert_is_tried_firing_and_silent() -> None:
    assert {case.alert for case in CASES if case.labels is not None} == set(ALERTS)
    silent = {case.alert for case in CASES if case.labels is None}
    assert silent == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert "{{ $labels." in alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    path, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


def test_each_page_has_its_alert_and_its_parts() -> None:
    text = (ROOT / "docs" / "runbooks" / "README.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    pages = {section.partition("\n")[0]: section for section in sections}
    assert set(pages) == set(ALERTS)
    for name, page in pages.items():
        for part in ("**Means**", "**Look**", "**Do**"):
            assert part in page, (name, part)
