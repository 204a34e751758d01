"""The home page in a real browser: each model tried as by a visitor who has never seen it."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread
from typing import Any

import pytest
import requests
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Route,
    expect,
    sync_playwright,
)

from inference_service.security.keys import create
from tests.conftest import MODELS, RunningServer
from tests.e2e.test_docs_page import keep
from tests.tools import need, need_package

pytestmark = pytest.mark.browser

expect.set_options(timeout=30_000)  # as long as Playwright waits for anything else

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
    expect(panel.locator("textarea")).not_to_have_value("")
    panel.get_by_role("button", name="Predict").click()
    assert re.search(r"scores\s+2", answered(panel))


def test_items_of_a_history_may_be_written_without_json(home: Page) -> None:
    panel = chosen(home, "libraries")
    area = panel.locator("textarea")
    expect(area).not_to_have_value("")
    area.fill("numpy, pandas")
    panel.get_by_role("button", name="Recommend").click()
    assert re.search(r"because of (numpy|pandas)", answered(panel))
    assert '{"user":["numpy","pandas"]}' in panel.locator(".code, pre").first.inner_text()


def test_a_page_that_is_not_secure_says_why_it_has_no_microphone(
    browser: Browser, server: RunningServer
) -> None:
    page = opened(browser, [])
    page.add_init_script(
        """for (const [owner, name, value] of [[window, "isSecureContext", false], [navigator, "mediaDevices", undefined]])
             Object.defineProperty(owner, name, { value });"""
    )
    page.goto(server.url + "/")
    for model, what in (("speech", "microphone"), ("imagenet", "camera")):
        panel = chosen(page, model)
        expect(panel).to_contain_text(
            f"Browsers give the {what} to pages of https:// and localhost only."
        )
    page.close()


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


DRAWN = {
    "0": [[(120, 30), (70, 60), (60, 120), (75, 180), (120, 205), (165, 175), (175, 115), (160, 55), (118, 32)]],
    "1": [[(80, 85), (128, 35), (122, 205)]],
    "2": [[(65, 75), (100, 35), (150, 45), (160, 90), (110, 145), (60, 200), (175, 198)]],
    "3": [[(70, 50), (115, 32), (160, 60), (145, 100), (105, 115), (155, 130), (170, 170), (125, 208), (65, 190)]],
    "4": [[(100, 35), (65, 135), (185, 132)], [(148, 75), (142, 210)]],
    "5": [[(165, 40), (90, 42), (80, 110), (130, 98), (168, 135), (155, 185), (110, 205), (68, 190)]],
    "6": [[(145, 35), (95, 85), (70, 150), (95, 203), (145, 200), (163, 160), (135, 128), (90, 140)]],
    "7": [[(62, 48), (178, 46), (140, 110), (105, 208)]],
    "8": [[(150, 60), (110, 35), (82, 65), (110, 105), (155, 145), (150, 195), (105, 205), (75, 170), (100, 125),
           (145, 92), (152, 62)]],
    "9": [[(158, 75), (125, 38), (80, 60), (85, 105), (130, 112), (160, 72), (155, 140), (138, 208)]],
}  # fmt: skip
"""Corners of strokes on a square of 240 units, as a hand draws them; models/digits/strokes.py, which the
model was trained with, has others."""


@pytest.mark.parametrize("digit", DRAWN)
def test_every_digit_that_is_drawn_with_the_mouse_is_recognised(home: Page, digit: str) -> None:
    panel = chosen(home, "digits")
    panel.locator("button.example").first.wait_for()  # they move the pad down
    box = panel.locator(".pad").bounding_box()
    assert box is not None
    scale = box["width"] / 240
    for stroke in DRAWN[digit]:
        (x, y), *others = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in stroke]
        home.mouse.move(x, y)
        home.mouse.down()
        for x, y in others:
            home.mouse.move(x, y, steps=6)
        home.mouse.up()
    panel.locator(".big", has_text=digit).wait_for()
    keep(home, f"home-digit-drawn-{digit}")


def test_a_picture_is_pasted(home: Page) -> None:
    panel = chosen(home, "imagenet")
    panel.locator("button.example").first.wait_for()
    paste = """async () => {
        const blob = await (await fetch("models/imagenet/examples/espresso.jpg")).blob();
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([blob], "pasted.jpg", { type: "image/jpeg" }));
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    }"""
    home.evaluate(paste)
    panel.locator(".bars", has_text="espresso").wait_for()
    assert "pasted.jpg" in panel.inner_text()


def test_what_the_microphone_has_recorded_is_sent(home: Page) -> None:
    panel = chosen(home, "speech")
    panel.get_by_role("button", name="Record", exact=True).click()
    stop = panel.get_by_role("button", name="Stop recording")
    stop.wait_for()
    home.wait_for_timeout(2500)  # the recording has to have a length
    stop.click()
    assert "s of speech" in answered(panel)
    assert "recording." in panel.inner_text()


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
    home.evaluate(  # it goes on until it is stopped
        """() => {
            const real = setTimeout;
            window.setTimeout = (work, ms, ...more) => ms === 8000 ? 0 : real(work, ms, ...more);
        }"""
    )
    panel.get_by_role("button", name="Load test").click()
    panel.get_by_text(re.compile("shared its run with .* others")).wait_for(timeout=30_000)
    home.locator("#live .tile", has_text="Requests per second").locator(
        "strong", has_text=re.compile("[1-9]")
    ).wait_for()
    home.locator("#live .tile", has_text="Rows in a run").locator(
        ".note", has_text=re.compile(r"largest ([2-9]|\d\d)")
    ).wait_for()
    keep(home, "home-loaded")
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_role("button", name="Load test").wait_for()


def test_an_answer_that_comes_late_does_not_replace_what_the_load_shows(home: Page) -> None:
    panel = chosen(home, "imagenet")
    late: list[Route] = []

    def hold(route: Route) -> None:
        if late:
            route.continue_()
        else:
            late.append(route)

    home.route("**/models/imagenet/classify*", hold)
    try:
        panel.locator("button.example", has_text="cat").click()
        panel.locator(".answer.waiting").wait_for(state="attached")
        panel.get_by_role("button", name="Load test").click()
        panel.locator(".burst .facts").wait_for()
        with home.expect_response("**/models/imagenet/classify*"):
            late[0].continue_()
        panel.get_by_text(re.compile("requests answered")).wait_for()
        panel.get_by_role("button", name="Load test").wait_for(timeout=30_000)
        assert panel.locator(".burst").count() == 1
        assert panel.locator(".answer.waiting").count() == 0
    finally:
        home.unroute_all()


def test_what_is_spoken_into_the_microphone_is_written_down(home: Page) -> None:
    panel = chosen(home, "transcription")
    panel.get_by_role("button", name="Live microphone").click()
    said = panel.locator(".said", has_text=re.compile("made amiable", re.IGNORECASE))
    said.wait_for(timeout=60_000)
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_role("button", name="Live microphone").wait_for()
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


def test_pages_without_javascript_say_so_and_where_to_look(
    browser: Browser, server: RunningServer
) -> None:
    page = browser.new_page(java_script_enabled=False)
    for path, links in (("/", ["v2/models", "stats", "openapi.json"]), ("/docs", ["openapi.json"])):
        page.goto(server.url + path)
        expect(page.locator("noscript p")).to_contain_text("This page needs JavaScript.")
        expect(page.locator("noscript p")).to_be_in_viewport()
        expect(page.get_by_text("connecting …")).not_to_be_visible()
        for link in links:
            assert page.locator(f'noscript a[href$="{link}"]').is_visible()
    page.close()


def test_the_keyboard_is_enough(home: Page) -> None:
    home.locator("#models a").nth(1).focus()
    home.keyboard.press("Enter")
    panel = home.locator("#model-language")
    panel.wait_for()
    panel.locator("button.example").first.focus()
    home.keyboard.press("Enter")
    assert "fr" in answered(panel)


@contextlib.contextmanager
def behind_a_prefix(server: RunningServer, prefix: str) -> Iterator[str]:
    """The URL of a proxy that passes on what comes below a prefix, without it."""
    host, port = server.url.removeprefix("http://").split(":")

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, rest = head.split(b" ", 2)
        if not path.startswith(prefix.encode()):
            writer.write(
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            writer.close()
            return
        up, down = await asyncio.open_connection(host, int(port))
        line = method + b" " + path.removeprefix(prefix.encode()) + b" " + rest
        down.write(line.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        await asyncio.gather(piped(reader, down), piped(up, writer))

    async def piped(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            while some := await source.read(65536):
                to.write(some)
                await to.drain()
        except OSError:
            pass
        finally:  # at the end of the test, too
            to.close()

    async def serve() -> None:
        proxy = await asyncio.start_server(passed, "127.0.0.1", 0)
        ports.put((proxy.sockets[0].getsockname()[1], asyncio.get_running_loop()))
        with contextlib.suppress(asyncio.CancelledError):
            await proxy.serve_forever()

    ports: Queue[tuple[int, asyncio.AbstractEventLoop]] = Queue()
    thread = Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()  # a loop of its own: that of this thread is the browser's
    own, loop = ports.get(timeout=20)
    try:
        yield f"http://127.0.0.1:{own}{prefix}"
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(10)


def test_behind_a_proxy_everything_is_asked_for_below_its_prefix(
    browser: Browser, server: RunningServer
) -> None:
    complaints: list[str] = []
    with behind_a_prefix(server, "/a/prefix") as url:
        page = opened(browser, complaints)
        page.goto(url + "/")
        panel = chosen(page, "language")
        panel.locator("button.example", has_text="french").click()
        assert "French" in answered(panel)
        assert f"{url}/models/language/classify" in panel.locator(".snippets code").inner_text()
        page.locator("#live .tile", has_text="Requests per second").locator(
            "strong", has_text=re.compile(r"\d")
        ).wait_for()
        assert page.get_by_role("link", name="API").evaluate("link => link.href") == url + "/docs"
        page.close()
    assert not complaints


PEPPER = "a pepper of some length"


def test_the_page_asks_for_a_key_where_access_is_controlled(
    browser: Browser, serve: Callable[..., RunningServer]
) -> None:
    """The browser's own dialogue asks; the key is the password."""
    key, entry = create("visitor", ["read", "infer"], PEPPER.encode(), 0)
    told = {"id": entry.id, "name": entry.name, "scopes": list(entry.scopes), "hash": entry.hash}
    server = serve(
        MODELS / "digits",
        INFERENCE_SERVICE_SECURITY__KEYS=json.dumps([told]),
        INFERENCE_SERVICE_SECURITY__PEPPER=PEPPER,
    )
    refused = requests.get(server.url, headers={"Accept": "text/html"}, timeout=20)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    complaints: list[str] = []
    page = opened(browser, complaints, http_credentials={"username": "", "password": key})
    page.goto(server.url + "/")
    panel = chosen(page, "digits")
    panel.locator("button.example", has_text="7 seven").click()
    assert re.search(r"7\s+\d\d+ %", answered(panel))
    page.locator("#health.good").wait_for()
    page.close()
    assert not complaints
