"""The shipped models of pictures, sound and text, asked as their users do, about real things."""

import base64
import json
import shutil
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import requests
from PIL import Image, ImageDraw, ImageFont

from tests.conftest import MODELS, RunningServer

PHOTOS = MODELS / "imagenet" / "examples"
RECORDINGS = MODELS / "speech" / "examples"


def ask(server: RunningServer, path: str, **what: Any) -> Any:
    patience = {"X-Request-Timeout": "120"}  # more than the models' own default deadlines
    response = requests.post(server.url + path, timeout=150, headers=patience, **what)
    assert response.status_code == 200, response.text
    return response.json()["results"]


@pytest.mark.parametrize(
    ("photo", "wanted"),
    [
        ("cat.jpg", {"tabby", "tiger cat", "Egyptian cat"}),
        ("espresso.jpg", {"espresso"}),
        ("rocket.jpg", {"missile", "projectile"}),
    ],
)
def test_real_photographs_are_recognised(
    server: RunningServer, photo: str, wanted: set[str]
) -> None:
    data = (PHOTOS / photo).read_bytes()
    (result,) = ask(server, "/models/imagenet/classify", data=data)
    assert result["labels"][0]["label"] in wanted
    assert 0 < result["labels"][0]["score"] <= 1


def test_scores_are_those_of_a_plain_implementation(server: RunningServer) -> None:
    """The authors' recipe, written down once more with Pillow and ONNX Runtime alone."""
    session = ort.InferenceSession(str(MODELS / "imagenet" / "1" / "model.onnx"))
    labels = (MODELS / "imagenet" / "labels.txt").read_text().splitlines()
    for photo in sorted(PHOTOS.glob("*.jpg")):
        image = Image.open(photo).convert("RGB")
        cut = min(image.size) * 224 / 256
        left, top = (image.width - cut) / 2, (image.height - cut) / 2
        image = image.resize(
            (224, 224), Image.Resampling.BICUBIC, (left, top, left + cut, top + cut)
        )
        pixels = ((np.asarray(image, np.float32) - 127) / 128).transpose(2, 0, 1)
        logits = session.run(None, {session.get_inputs()[0].name: pixels[None]})[0][0]
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        (result,) = ask(server, "/models/imagenet/classify?top_k=3", data=photo.read_bytes())
        for one in result["labels"]:
            assert one["label"] == labels[one["index"]]
            assert one["score"] == pytest.approx(shares[one["index"]], abs=0.01)


def test_speech_is_found_where_the_authors_own_code_finds_it(server: RunningServer) -> None:
    """examples/segments.json was made by silero-vad's get_speech_timestamps, see docs/speech.md."""
    reference = json.loads((RECORDINGS / "segments.json").read_text())
    assert reference
    for name, wanted in reference.items():
        data = (RECORDINGS / name).read_bytes()
        (result,) = ask(server, "/models/speech/detect", data=data)
        found = [(one["start"], one["end"]) for one in result["segments"]]
        assert found == [pytest.approx(tuple(pair), abs=0.033) for pair in wanted]


def test_noise_and_tones_are_no_speech(server: RunningServer, tmp_path: Path) -> None:
    import soundfile

    noise = np.random.default_rng(1).normal(0, 0.05, 48_000).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    (result,) = ask(server, "/models/speech/detect", data=(tmp_path / "noise.wav").read_bytes())
    assert result == {"segments": [], "seconds": 3.0, "speech_seconds": 0.0}


def test_recordings_of_many_clients_share_runs(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """Told to wait, since whether sharing pays depends on the machine that measures it."""
    shutil.copytree(MODELS / "speech", tmp_path / "speech")
    server = serve(
        tmp_path,
        INFERENCE_SERVICE_BATCHING__MAX_BATCH_SIZE="8",
        INFERENCE_SERVICE_BATCHING__MAX_QUEUE_DELAY="0.05",
    )
    data = next(RECORDINGS.glob("*.flac")).read_bytes()

    def totals() -> tuple[float, float]:
        text = requests.get(server.url + "/metrics", timeout=10).text
        lines = [line for line in text.splitlines() if 'model="speech"' in line]
        values = [
            sum(float(line.split()[-1]) for line in lines if line.startswith(name))
            for name in ("inference_batch_rows_sum", "inference_batch_rows_count")
        ]
        return values[0], values[1]

    before = totals()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: ask(server, "/models/speech/detect", data=data), range(8))
        )
    assert all(answer == answers[0] for answer in answers)
    rows, runs = (after - start for after, start in zip(totals(), before, strict=True))
    assert rows / runs > 1.5


def languages(server: RunningServer, texts: list[str]) -> list[str]:
    found = []
    for start in range(0, len(texts), 100):
        body = {"texts": texts[start : start + 100], "top_k": 1}
        results = ask(server, "/models/language/classify", json=body)
        found += [result["labels"][0]["label"] for result in results]
    return found


@pytest.mark.parametrize(("kind", "most_wrong"), [("phrases", 0.08), ("talk", 0.08), ("50", 0.03)])
def test_languages_of_texts_that_it_was_not_trained_on_are_told(
    server: RunningServer, kind: str, most_wrong: float
) -> None:
    """Greetings and short sentences, talk of 3 to 30 characters, and texts of 50: right or unsure."""
    sample = json.loads((MODELS / "language" / "holdout.json").read_text())[kind]
    found = languages(server, [text for text, _ in sample])
    wanted = [code for _, code in sample]
    wrong = [a not in {"unsure", b} for a, b in zip(found, wanted, strict=True)]
    assert np.mean(wrong) < most_wrong
    assert np.mean([a == b for a, b in zip(found, wanted, strict=True)]) > 0.8


def test_what_people_type_first_is_no_embarrassment(server: RunningServer) -> None:
    greetings = {"Hello": "en", "Good morning": "en", "Bonjour": "fr", "Ciao": "it", "Привет": "ru"}
    assert languages(server, list(greetings)) == list(greetings.values())
    says_nothing = ["12345", "???", "\N{GRINNING FACE}", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"]
    assert languages(server, says_nothing) == 4 * ["unsure"]
    (result,) = ask(server, "/models/language/classify", json={"text": "Guten Morgen"})
    assert result["labels"][0]["name"] == "German"


def test_the_language_model_is_unsure_where_its_training_has_shown_it() -> None:
    folder = MODELS / "language"
    pipeline = tomllib.loads((folder / "model.toml").read_text())["pipeline"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert pipeline["unsure_below"] == metrics["unsure_below"]
    for kind in ("phrases", "talk", "translations"):
        assert metrics[kind]["10-20"]["right"] >= 0.85


def test_recommendations_are_as_good_over_http_as_they_were_measured(
    server: RunningServer,
) -> None:
    """A third of each held-out history was hidden: how much of it is among the first ten?"""
    folder = MODELS / "libraries"
    sample = json.loads((folder / "holdout.json").read_text())
    found = []
    for start in range(0, len(sample), 100):
        part = sample[start : start + 100]
        body = {"users": [one["user"] for one in part], "reasons": 0}
        results = ask(server, "/models/libraries/recommend", json=body)
        for one, result in zip(part, results, strict=True):
            chosen = {item["item"] for item in result["items"]}
            assert not chosen & set(one["user"])
            hidden = one["hidden"]
            found.append(len(chosen & set(hidden)) / min(10, len(hidden)))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert np.mean(found) == pytest.approx(metrics["ease"]["recall_at_10"], abs=0.005)
    assert np.mean(found) > 1.5 * metrics["popularity"]["recall_at_10"]


def test_what_goes_with_a_projects_libraries_and_why(server: RunningServer) -> None:
    body = {"user": ["numpy", {"item": "pandas", "weight": 2}], "top_k": 5}
    (result,) = ask(server, "/models/libraries/recommend", json=body)
    names = [item["item"] for item in result["items"]]
    assert "scipy" in names
    assert "matplotlib" in names
    assert {one["item"] for item in result["items"] for one in item["reasons"]} <= {
        "numpy",
        "pandas",
    }
    (nobody,) = ask(server, "/models/libraries/recommend", json={"user": []})
    assert nobody["cold_start"] is True
    assert len(nobody["items"]) == 10


def test_a_photographed_page_is_read(server: RunningServer) -> None:
    """Grey, curved and crumpled. RapidOCR reads these lines, too (spaces aside)."""
    data = (MODELS / "ocr" / "examples" / "page.png").read_bytes()
    (result,) = ask(server, "/models/ocr/read", data=data)
    text = result["text"].replace(" ", "")
    for line in (
        "Region-basedsegmentation",
        "Letusfirstdeterminemarkersofthecoinsandthe",
        "background.Thesemarkersarepixelsthatwecanlabel",
        "unambiguouslyaseitherobjectorbackground.Here",
        "histogramofgreyvalues:",
    ):
        assert line in text


def test_a_turned_sheet_is_read_where_it_is_and_many_clients_share_the_runs(
    server: RunningServer,
) -> None:
    sheet = Image.new("RGB", (800, 300), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(40)
    draw.text((40, 40), "Invoice No. 2026-1124", fill="black", font=font)
    draw.text((40, 180), "inference-service@example.org", fill=(30, 30, 120), font=font)
    lines = ["InvoiceNo.2026-1124", "inference-service@example.org"]

    def read(degrees: float) -> Any:
        turned = sheet.rotate(
            degrees, expand=True, fillcolor="white", resample=Image.Resampling.BICUBIC
        )
        out = BytesIO()
        turned.save(out, "PNG")
        (result,) = ask(server, "/models/ocr/read", data=out.getvalue())
        return result

    level = read(0)
    assert [line["text"].replace(" ", "") for line in level["lines"]] == lines
    (left, top), _, (right, bottom), _ = level["lines"][0]["box"]
    assert 25 < left < 50
    assert 40 < top < bottom < 100
    assert 400 < right < 500
    assert all(line["score"] > 0.9 for line in level["lines"])
    for degrees in (7, -10):
        assert [line["text"].replace(" ", "") for line in read(degrees)["lines"]] == lines
    down = [line["text"].replace(" ", "") for line in read(180)["lines"]]
    assert sorted(down) == sorted(lines)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(read, [0] * 6)) == [level] * 6


def test_tensorflow_serving_s_clients_send_pictures_as_base64(server: RunningServer) -> None:
    url = f"{server.url}/v1/models/imagenet:predict"
    labels = (MODELS / "imagenet" / "labels.txt").read_text().splitlines()
    photos = [
        base64.b64encode((PHOTOS / name).read_bytes()).decode()
        for name in ("cat.jpg", "espresso.jpg")
    ]
    session = ort.InferenceSession(str(MODELS / "imagenet" / "1" / "model.onnx"))
    name = session.get_inputs()[0].name
    bodies = [
        {"instances": [{"b64": photo} for photo in photos]},
        {"instances": [{f"{name}_bytes": {"b64": photo}} for photo in photos]},
        {"instances": [{"b64": f"data:image/jpeg;base64,{photo}"} for photo in photos]},
        {"inputs": {name: [{"b64": photo} for photo in photos]}},
    ]
    for body in bodies:
        answer = requests.post(url, json=body, timeout=60).json()
        logits = np.array(answer.get("predictions") or answer.get("outputs"))
        assert logits.shape == (2, 1000)
        assert [labels[place] for place in logits.argmax(axis=1)] == ["Egyptian cat", "espresso"]


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([{"b64": "AAAA"}], "instances[0]: no image that can be read"),
        ([{"b64": "A"}], "instances[0].b64: not base64"),
        ([{"b64": 7}, {"b64": ""}], "instances[0].b64: expected base64 in a string"),
        ([{"b64": ""}], "instances[0]: the image is empty"),
        ([{"picture": {"b64": "AAAA"}}], "instances[0]: expected a file as in the other rows"),
    ],
)
def test_what_is_wrong_with_a_picture_in_base64_is_told_with_its_place(
    server: RunningServer, instances: Any, message: str
) -> None:
    response = requests.post(
        f"{server.url}/v1/models/imagenet:predict", json={"instances": instances}, timeout=60
    )
    assert response.status_code == 400
    assert message in response.json()["error"]
