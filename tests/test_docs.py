"""What the documentation says is what the code does."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from inference_service.settings import Settings
from tests.conftest import ROOT, RunningServer

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def documented() -> dict[str, str]:
    page = (ROOT / "docs" / "configuration.md").read_text()
    return dict(re.findall(r"^\| `([\w.]+)` \| (?:`(.*?)`)? ?\|", page, re.MULTILINE))


def defaults(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            found |= defaults(type(field.default), f"{prefix}{name}.")
        else:
            found[prefix + name] = "" if field.default is None else str(field.default)
    return found


def test_every_setting_is_documented_with_its_default() -> None:
    assert documented() == defaults(Settings)


def test_every_metric_is_documented(server: RunningServer) -> None:
    import requests

    text = requests.get(server.url + "/metrics", timeout=20).text
    exposed = set(re.findall(r"^# TYPE (inference_\w+)", text, re.MULTILINE))
    page = (ROOT / "docs" / "metrics.md").read_text()
    named = set(re.findall(r"^\| `(inference_\w+)`", page, re.MULTILINE))
    assert exposed == named


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readmes_figures_are_those_of_the_training_scripts() -> None:
    readme = (ROOT / "README.md").read_text()
    digits = json.loads((ROOT / "models/digits/metrics.json").read_text())
    flights = json.loads((ROOT / "models/flight-delay/metrics.json").read_text())
    assert f"{digits['accuracy']:.1%}".replace("%", " %") in readme
    assert f"{digits['rows_held_out']} right" in readme
    assert f"AUC {flights['auc']:.3f} on {flights['rows_held_out']:,}".replace(",", " ") in readme
    assert f"alone: {flights['auc_of_departure_delay_alone']:.3f}" in readme


def test_every_error_status_is_documented(server: RunningServer) -> None:
    from inference_service.web.errors import _TABLE

    page = (ROOT / "docs" / "http-api.md").read_text()
    listed = {int(status) for status in re.findall(r"^\| (\d{3}) \|", page, re.MULTILINE)}
    assert {status for _, status, _ in _TABLE} | {405, 421, 431, 505} == listed
    outcomes = (ROOT / "docs" / "metrics.md").read_text()
    for _, _, outcome in _TABLE:
        assert f"`{outcome}`" in outcomes
