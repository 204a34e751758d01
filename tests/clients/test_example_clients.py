"""The programs in docs/clients, run as their users run them."""

import subprocess
import sys

from tests.conftest import MODELS, ROOT, RunningServer


def run(server: RunningServer, name: str, *arguments: str, text: str = "", status: int = 0) -> str:
    """What it prints."""
    found = subprocess.run(
        [sys.executable, ROOT / "docs" / "clients" / f"{name}.py", server.url, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == status, found.stderr
    return found.stdout + found.stderr


def test_pictures_are_named_and_read(server: RunningServer) -> None:
    espresso = str(MODELS / "imagenet" / "examples" / "espresso.jpg")
    page = str(MODELS / "ocr" / "examples" / "page.png")
    found = run(server, "images", espresso, page)
    assert "\tespresso\n" in found
    assert "histogram" in found
    assert "no image that can be read" in run(server, "images", __file__, status=1)


def test_a_recording_is_written_down(server: RunningServer) -> None:
    recording = str(MODELS / "transcription" / "examples" / "austen-0930.flac")
    assert "been made amiable" in run(server, "speech", recording, "--fast")


def test_lines_are_sorted_by_language(server: RunningServer) -> None:
    german, french = "Wo ist die nächste Apotheke?", "Où se trouve la pharmacie la plus proche ?"
    found = run(server, "language", text=f"{german}\n\n{french}\n")
    assert found == f"de\t{german}\nfr\t{french}\n"


def test_libraries_are_recommended(server: RunningServer) -> None:
    assert "\tscipy\tbecause of " in run(server, "recommendation", "numpy", "pandas")
    assert "unknown items: 'nothing'" in run(server, "recommendation", "nothing", status=1)
