"""The docs page in a real browser, which can reach nothing but the server."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright

from tests.conftest import MODELS, RunningServer
from tests.tools import need

pytestmark = pytest.mark.browser

expect.set_options(timeout=30_000)  # as long as Playwright waits for anything else
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        )  # fmt: skip
        yield browser.new_page(viewport={"width": 1280, "height": 1400})
        browser.close()


def keep(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def open_docs(page: Page, server: RunningServer) -> list[str]:
    """Open the page; returns what was asked of other hosts."""
    strangers: list[str] = []

    def watch(route: Route) -> None:
        if route.request.url.startswith((server.url, "data:")):
            route.continue_()
        else:
            strangers.append(route.request.url)
            route.abort()

    page.unroute_all()
    page.route("**/*", watch)
    page.goto(server.url + "/docs")
    page.wait_for_selector(".opblock")
    return strangers


def test_the_page_needs_no_internet_and_lists_the_models_first(
    page: Page, server: RunningServer
) -> None:
    complaints: list[Any] = []
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    assert open_docs(page, server) == []
    assert complaints == []
    paths = page.locator(".opblock-summary-path").all_inner_texts()
    shown = [path.replace("\u200b", "") for path in paths]
    tasks = [
        "imagenet/classify", "language/classify", "libraries/recommend", "ocr/read",
        "speech/detect", "transcription/transcribe",
    ]  # fmt: skip
    assert shown[:6] == [f"/models/{task}" for task in tasks]
    assert shown[6:8] == ["/v1/models/digits:predict", "/v1/models/flight-delay:predict"]
    first, second = page.locator(".opblock-tag").all_inner_texts()[:2]
    assert first.startswith("Tasks of the loaded models")
    assert second.startswith("Models")
    keep(page, "docs")


@pytest.mark.parametrize(
    ("model", "answer"), [("digits", '"label": 3'), ("flight-delay", '"predictions": [')]
)
def test_try_it_out_works_as_is(page: Page, server: RunningServer, model: str, answer: str) -> None:
    open_docs(page, server)
    block = page.locator(".opblock", has=page.locator(f'[data-path="/v1/models/{model}:predict"]'))
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table .response")
    live.wait_for()
    assert live.locator(".response-col_status").inner_text().startswith("200")
    assert answer in live.locator(".response-col_description").inner_text()
    assert "server-timing" in live.locator(".response-col_description").inner_text()
    keep(page, f"try-{model}")


@pytest.mark.parametrize(
    ("task", "file", "answer"),
    [
        ("imagenet/classify", "imagenet/examples/espresso.jpg", '"label": "espresso"'),
        ("speech/detect", "speech/examples/austen.mp3", '"start": 0.226'),
    ],
)
def test_a_file_can_be_uploaded(
    page: Page, server: RunningServer, task: str, file: str, answer: str
) -> None:
    open_docs(page, server)
    block = page.locator(".opblock", has=page.locator(f'[data-path="/models/{task}"]'))
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Try it out").click()
    block.locator('input[type="file"]').first.set_input_files(MODELS / file)
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table .response")
    live.wait_for()
    assert live.locator(".response-col_status").inner_text().startswith("200")
    assert answer in live.locator(".response-col_description").inner_text()
    keep(page, f"upload-{task.replace('/', '-')}")


def test_a_models_types_and_limits_are_shown(page: Page, server: RunningServer) -> None:
    open_docs(page, server)
    block = page.locator(".opblock", has=page.locator('[data-path="/v1/models/digits:predict"]'))
    block.locator(".opblock-summary").click()
    for part in ("image", "float32", "[batch, 64]", "32 MiB", "handwritten digit"):
        expect(block).to_contain_text(part)
    expect(block).to_contain_text(re.compile(r"up to \d+ rows"))


def test_it_is_dark_where_the_browser_is_and_leads_home(page: Page, server: RunningServer) -> None:
    open_docs(page, server)
    everything = page.locator("html")
    for scheme, background in (("dark", "rgb(28, 32, 34)"), ("light", "rgba(0, 0, 0, 0)")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(everything).to_have_css("background-color", background)
    page.get_by_role("link", name="home page").click()
    expect(page).to_have_title("inference-service")


def test_words_in_a_frame_hide_no_line_above(page: Page, server: RunningServer) -> None:
    open_docs(page, server)
    frame = page.locator(".info code").first
    height = frame.evaluate("one => one.getClientRects()[0].height")
    line = frame.evaluate("one => parseFloat(getComputedStyle(one.parentElement).lineHeight)")
    assert height <= line + 1


def test_it_can_be_read_on_a_phone(page: Page, server: RunningServer) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_docs(page, server)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for text in (".opblock-tag small", ".opblock-summary-path", ".opblock-summary-description"):
        box = page.locator(text).first.bounding_box()
        assert box is not None
        assert box["width"] > 100, text
        assert box["height"] < 80, text
