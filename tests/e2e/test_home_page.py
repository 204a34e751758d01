"""The home page in a real browser: each model tried as by a visitor who has never seen it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from tests.conftest import MODELS, RunningServer
from tests.e2e.test_docs_page import keep
from tests.tools import need, need_package

pytestmark = pytest.mark.browser

SAID = MODELS / "transcription" / "examples" / "austen-0930.flac"
SHIPPED = [
    "imagenet", "language", "libraries", "ocr", "speech", "transcription",
    "digits", "flight-delay", "ocr-direction", "ocr-recognition",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with a camera and a microphone into which a recording speaks, over and over."""
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
        yield browser
        browser.close()


def opened(browser: Browser, complaints: list[str], **options: Any) -> Page:
    """A page; what it writes into its console is noted."""

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    page = browser.new_page(**options)
    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    return []


@pytest.fixture(scope="module")
def tab(browser: Browser, complaints: list[str]) -> Page:
    return opened(browser, complaints, viewport={"width": 1200, "height": 1100})


@pytest.fixture
def home(tab: Page, complaints: list[str], server: RunningServer) -> Iterator[Page]:
    """The page as it is opened. What it complains of is a failure, but for answers that are 4xx."""
    complaints.clear()
    tab.goto("about:blank")
    tab.goto(server.url + "/")
    tab.wait_for_selector(".model")
    yield tab
    assert not [one for one in complaints if "status of 4" not in one]


def chosen(home: Page, model: str) -> Locator:
    """A model's panel, after a click on its name."""
    home.locator("#models a", has=home.get_by_text(model, exact=True)).click()
    panel = home.locator(f"#model-{model}")
    panel.wait_for()
    return panel


def answered(panel: Locator) -> str:
    """What is shown once an answer is there."""
    panel.locator(".answer:not(.waiting) .time").wait_for(timeout=60_000)
    return panel.inner_text()


def test_all_models_are_there_with_their_states_and_whether_requests_share_runs(
    home: Page,
) -> None:
    assert home.locator("#models .name").all_inner_texts() == SHIPPED
    assert home.locator("#models .dot.ready").count() == len(SHIPPED)
    panel = chosen(home, "imagenet")
    assert "What is in this picture?" in panel.inner_text()
    pills = [" ".join(text.split()) for text in panel.locator(".pill").all_inner_texts()]
    assert pills == [
        "version 1", "ready", "Requests share runs (proven)",
    ]  # fmt: skip
    panel.get_by_text("Signature and facts").click()
    assert re.search(r"takes\s+image\s+FP32\s+any . 3 . 224 . 224", panel.inner_text())
    keep(home, "home")


@pytest.mark.parametrize(
    ("model", "example", "answer"),
    [
        ("imagenet", "espresso", r"espresso\s+9\d %"),
        ("language", "japanese", r"Japanese\s+\d+ %"),
        ("libraries", "data analysis", r"scipy[\s\S]*because of numpy"),
        ("ocr", "page", "histogram"),
        ("speech", "austen", r"1\d\.\d s of speech"),
        ("transcription", "cards 001", r"Ten of clubs\."),
        ("digits", "7 seven", r"7\s+\d\d+ %"),
        ("flight-delay", "arrived late to BOS", "late probability"),
    ],
)
def test_one_click_on_an_example_is_answered(
    home: Page, model: str, example: str, answer: str
) -> None:
    panel = chosen(home, model)
    panel.locator("button.example", has_text=re.compile(f"{example}$")).first.click()
    assert re.search(answer, answered(panel))
    assert panel.locator(".answer canvas").count() == (model in {"ocr", "speech", "transcription"})
    keep(home, f"home-{model}")


def test_models_without_examples_have_a_body_to_send(home: Page) -> None:
    panel = chosen(home, "ocr-direction")
    panel.locator("textarea").filter(has_not_text="^$").wait_for()
    home.wait_for_function("document.querySelector('.model textarea').value !== ''")
    panel.get_by_role("button", name="Predict").click()
    assert re.search(r"scores\s+2", answered(panel))


def test_a_file_is_chosen_or_dropped(home: Page) -> None:
    panel = chosen(home, "imagenet")
    panel.locator("input[type=file]").set_input_files(MODELS / "imagenet/examples/rocket.jpg")
    assert "missile" in answered(panel) or "rocket" in answered(panel)
    drop = """async (box) => {
        const blob = await (await fetch("models/imagenet/examples/espresso.jpg")).blob();
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([blob], "dropped.jpg", { type: "image/jpeg" }));
        box.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }"""
    panel.locator(".drop").evaluate(drop)
    panel.locator(".bars", has_text="espresso").wait_for()
    assert "dropped.jpg" in panel.inner_text()


def test_the_camera_takes_a_picture(home: Page) -> None:
    panel = chosen(home, "imagenet")
    panel.get_by_role("button", name="Camera").click()
    panel.get_by_role("button", name="Take the picture").click()
    assert "camera.jpg" in answered(panel)


def test_a_digit_is_drawn_with_the_mouse(home: Page) -> None:
    panel = chosen(home, "digits")
    panel.locator("button.example").first.wait_for()  # they move the pad down
    box = panel.locator(".pad").bounding_box()
    assert box is not None
    points = [(65, 60), (100, 30), (135, 60), (110, 110), (60, 165), (145, 165)]
    (x, y), *others = [(box["x"] + x, box["y"] + y) for x, y in points]
    home.mouse.move(x, y)
    home.mouse.down()
    for x, y in others:
        home.mouse.move(x, y, steps=8)
    home.mouse.up()
    panel.locator(".big", has_text="2").wait_for()
    keep(home, "home-digit-drawn")


def test_parameters_count_and_errors_are_shown(home: Page) -> None:
    panel = chosen(home, "language")
    panel.get_by_text("Parameters").click()
    panel.locator("textarea").fill("Wo ist die nächste Apotheke?")
    panel.locator("input[name=top_k]").fill("none")
    panel.get_by_role("button", name="Classify").click()
    error = panel.locator(".error")
    error.wait_for()
    assert error.inner_text().startswith("400: top_k: expected a whole number")
    panel.locator("input[name=top_k]").fill("2")
    panel.locator("input[name=threshold]").fill("0")
    panel.get_by_role("button", name="Classify").click()
    assert re.search(r"German\s+\d+ %", answered(panel))
    assert panel.locator(".bar").count() == 2


def test_the_time_and_the_code_of_a_request_are_shown(home: Page) -> None:
    panel = chosen(home, "language")
    panel.locator("button.example", has_text="french").click()
    text = answered(panel)
    for phase in ("decode", "queue", "compute", "network"):
        assert re.search(rf"{phase} [\d.]+ (µs|ms|s)", text)
    code = panel.locator(".snippets code")
    assert code.inner_text().startswith("curl 'http://")
    panel.get_by_role("tab", name="Python").click()
    assert "requests.post(" in code.inner_text()
    panel.get_by_role("tab", name="Python").press("ArrowRight")
    assert code.inner_text().startswith("const answer = await fetch(")


def test_loading_a_model_shows_requests_that_share_runs(home: Page) -> None:
    panel = chosen(home, "imagenet")
    panel.locator("button.example", has_text="cat").click()
    answered(panel)
    panel.get_by_role("button", name="Load it").click()
    panel.get_by_text(re.compile("shared its run with .* others")).wait_for(timeout=30_000)
    home.locator("#live .tile", has_text="Requests per second").locator(
        "strong", has_text=re.compile("[1-9]")
    ).wait_for()
    home.locator("#live .tile", has_text="Rows in a run").locator(
        ".note", has_text=re.compile("largest [2-9]")
    ).wait_for()
    keep(home, "home-loaded")
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_role("button", name="Load it").wait_for()


def test_what_is_spoken_into_the_microphone_is_written_down(home: Page) -> None:
    panel = chosen(home, "transcription")
    panel.get_by_role("button", name="Speak").click()
    said = panel.locator(".said", has_text=re.compile("made amiable", re.IGNORECASE))
    said.wait_for(timeout=60_000)
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_role("button", name="Speak").wait_for()
    keep(home, "home-microphone")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_labels_and_roles_are_right(
    browser: Browser, server: RunningServer, scheme: str
) -> None:
    need_package("axe_playwright_python")
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, [], viewport={"width": 1200, "height": 1100}, color_scheme=scheme)
    page.goto(server.url + "/")
    page.wait_for_selector(".model")
    for model in ("language", "digits", "libraries", "speech"):
        panel = chosen(page, model)
        panel.locator("button.example").first.click()
        answered(panel)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    keep(page, f"home-{scheme}")
    page.close()


def test_it_fits_on_a_phone(browser: Browser, server: RunningServer) -> None:
    page = opened(browser, [], viewport={"width": 360, "height": 780}, has_touch=True)
    page.goto(server.url + "/")
    page.wait_for_selector(".model")
    for model in ("digits", "flight-delay", "ocr"):
        panel = chosen(page, model)
        panel.locator("button.example").first.click()
        answered(panel)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), model
    keep(page, "home-phone")
    page.close()


def test_the_keyboard_is_enough(home: Page) -> None:
    home.locator("#models a").nth(1).focus()
    home.keyboard.press("Enter")
    panel = home.locator("#model-language")
    panel.wait_for()
    panel.locator("button.example").first.focus()
    home.keyboard.press("Enter")
    assert "fr" in answered(panel)
