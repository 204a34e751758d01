"""The home page in a real browser: each application tried as somebody would who has never seen it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.conftest import MODELS, RunningServer
from tests.e2e.test_docs_page import keep
from tests.tools import need

pytestmark = pytest.mark.browser

SAID = MODELS / "transcription" / "examples" / "austen-0930.flac"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Chromium with a microphone into which a recording speaks, over and over."""
    need("chromium")
    import soundfile

    samples, rate = soundfile.read(SAID, dtype="int16")
    voice = tmp_path_factory.mktemp("voice") / "voice.wav"
    soundfile.write(voice, samples, rate)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync",
                  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                  f"--use-file-for-fake-audio-capture={voice}"],
        )  # fmt: skip
        yield browser.new_page(viewport={"width": 1100, "height": 1300})
        browser.close()


@pytest.fixture
def home(page: Page, server: RunningServer) -> Page:
    """The page as it is opened, complaints in its console being failures."""
    page.goto(server.url + "/")
    page.wait_for_selector("section")
    return page


def test_all_models_are_there_with_what_they_do(home: Page) -> None:
    names = home.locator("h2").all_inner_texts()
    assert names == [
        "imagenet", "language", "libraries", "ocr", "speech", "transcription",
        "Models that take tensors",
    ]  # fmt: skip
    assert {"digits", "flight-delay"} <= set(home.locator("li strong").all_inner_texts())
    keep(home, "home")


@pytest.mark.parametrize(
    ("model", "file", "answer"),
    [
        ("imagenet", "imagenet/examples/espresso.jpg", r"espresso\s+0\.9"),
        ("ocr", "ocr/examples/page.png", "histogram"),
        ("speech", "speech/examples/austen.flac", '"speech_seconds": 11'),
        ("transcription", "transcription/examples/cards-001.flac", "Ten of clubs."),
    ],
)
def test_a_file_is_chosen_and_answered(home: Page, model: str, file: str, answer: str) -> None:
    section = home.locator(f"#{model}")
    section.locator("input[type=file]").set_input_files(MODELS / file)
    section.locator("form button").first.click()
    section.locator(".time", has_text="total;dur=").wait_for()
    assert re.search(answer, section.inner_text())
    assert section.locator("canvas").count() == (model == "ocr")
    keep(home, f"home-{model}")


@pytest.mark.parametrize(
    ("model", "answer"), [("language", r"German\s+0\.\d+"), ("libraries", '"item": ')]
)
def test_what_is_typed_in_already_works(home: Page, model: str, answer: str) -> None:
    section = home.locator(f"#{model}")
    section.locator("form button").click()
    section.locator(".time", has_text="total;dur=").wait_for()
    assert re.search(answer, section.inner_text())


def test_parameters_count_and_errors_are_shown(home: Page) -> None:
    section = home.locator("#language")
    section.get_by_text("Parameters").click()
    section.locator("input[name=top_k]").fill("none")
    section.locator("form button").click()
    error = section.locator(".error")
    error.wait_for()
    assert error.inner_text().startswith("400: top_k: Input should be a valid integer")
    section.locator("input[name=top_k]").fill("2")
    section.locator("input[name=threshold]").fill("0")
    section.locator("form button").click()
    section.locator(".time", has_text="total;dur=").wait_for()
    assert section.locator(".bar").count() == 2


def test_what_is_spoken_into_the_microphone_is_written_down(home: Page) -> None:
    section = home.locator("#transcription")
    section.get_by_role("button", name="Speak").click()
    said = section.locator(".said", has_text=re.compile("made amiable", re.IGNORECASE))
    said.wait_for(timeout=30_000)
    section.get_by_role("button", name="Stop").click()
    section.get_by_role("button", name="Speak").wait_for()
    keep(home, "home-microphone")
