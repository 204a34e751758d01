"""The guide, as scripts/docs builds it, in a real browser that can reach nothing but the service."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from tests.conftest import MODELS, ROOT, RunningServer
from tests.e2e.test_docs_page import keep
from tests.e2e.test_home_page import browser as browser  # noqa: PLC0414 - a fixture
from tests.e2e.test_home_page import opened
from tests.tools import TOOLS, need_file

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_file(TOOLS / "docs" / "installed")
    folder = tmp_path_factory.mktemp("guide") / "site"
    subprocess.run(
        [ROOT / "scripts" / "docs", "--site-dir", folder], check=True, timeout=300, cwd=ROOT
    )
    return folder


def test_pages_are_read_and_searched_without_the_internet(
    browser: Browser, site: Path, serve: Callable[..., RunningServer]
) -> None:
    server = serve(MODELS / "digits", INFERENCE_SERVICE_HTTP__GUIDE=str(site))
    complaints: list[str] = []
    strangers: list[str] = []

    def watch(route: Route) -> None:
        if route.request.url.startswith((server.url, "data:", "blob:")):
            route.continue_()
        else:
            strangers.append(route.request.url)
            route.abort()

    page = opened(browser, complaints, viewport={"width": 1280, "height": 900})
    page.route("**/*", watch)
    page.goto(server.url + "/")
    page.get_by_role("link", name="Guide").click()
    page.get_by_role("link", name="Metrics", exact=True).first.click()
    page.wait_for_url("**/guide/metrics.html")
    assert "inference_requests_total" in page.locator("article").inner_text()
    keep(page, "guide-metrics")
    query = page.locator("[data-md-component=search-query]")
    query.press_sequentially("traceparent")  # it looks at keys
    page.locator(".md-search-result__link", has_text=re.compile("Tracing")).first.click()
    page.wait_for_url("**/guide/tracing.html*")
    keep(page, "guide-search")
    page.close()
    assert not strangers
    assert not complaints, complaints
