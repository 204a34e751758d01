"""What the documentation says is what the code does."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from inference_service.settings import Settings
from tests.conftest import ROOT, RunningServer

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


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


def pages_of_docs() -> set[str]:
    docs = ROOT / "docs"
    return {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")} - {"index.md"}


def test_every_page_is_in_the_index_and_in_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert set(re.findall(r"\]\(([\w/.-]+\.md)\)", index)) >= pages_of_docs()
    site = (ROOT / "mkdocs.yml").read_text()
    assert set(re.findall(r"- (?:Start: )?([\w/-]+\.md)$", site, re.MULTILINE)) == {
        "index.md", *pages_of_docs(),
    }  # fmt: skip


def anchors(page: Path) -> set[str]:
    """The fragments that a page has, as GitHub and mkdocs make them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_fragments_of_links_are_headings(page: Path) -> None:
    for target, fragment in re.findall(r"\]\(([^)#:]*\.md|)#([^)]+)\)", page.read_text()):
        led = page if not target else (page.parent / target)
        assert fragment in anchors(led), f"{target}#{fragment}"


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
