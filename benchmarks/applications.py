"""The shipped models end to end: files in, answers out, one client against 32.

Usage: ``python benchmarks/applications.py``. Needs wrk. Decoding, resampling and JSON are part of it;
client and server share the machine's cores.
"""

import io
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import load
from PIL import Image
from servers import ROOT, free_port

MODELS = ROOT / "models"


@contextmanager
def served(port: int) -> Iterator[None]:
    """The shipped models."""
    command = [sys.executable, "-m", "inference_service", "serve", str(MODELS), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready")
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def enlarged(data: bytes) -> bytes:
    """The same photograph as a camera would have it: 12 million pixels."""
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((4000, 3000)).save(out, "JPEG", quality=90)
    return out.getvalue()


def main() -> None:
    """Measure and print."""
    cat = (MODELS / "imagenet" / "examples" / "cat.jpg").read_bytes()
    speech = (MODELS / "speech" / "examples" / "austen.flac").read_bytes()
    words = (MODELS / "transcription" / "examples" / "austen-0930.flac").read_bytes()
    text = '{"text": "Wo ist die nächste Apotheke, und wann hat sie offen?"}'.encode()
    names = ["numpy", "scipy", "pandas", "requests", "yaml", "jinja2", "lxml", "click"]
    user = json.dumps({"user": names}).encode()
    work = [
        ("a picture, 451 x 300 JPEG", "/models/imagenet/classify", cat, "image/jpeg"),
        ("a picture, 4000 x 3000 JPEG", "/models/imagenet/classify", enlarged(cat), "image/jpeg"),
        ("13.2 s of speech, FLAC", "/models/speech/detect", speech, "audio/flac"),
        ("3.3 s of speech to words", "/models/transcription/transcribe", words, "audio/flac"),
        ("what goes with 8 items", "/models/libraries/recommend", user, "application/json"),
        ("the language of a sentence", "/models/language/classify", text, "application/json"),
    ]
    page = (MODELS / "ocr" / "examples" / "page.png").read_bytes()
    work.insert(2, ("text on a picture, 5 lines", "/models/ocr/read", page, "image/png"))
    if (MODELS / "sentences" / "1" / "model.onnx").exists():  # built on demand
        sentence = b'{"text": "Dynamic batching raises the throughput, and latency is the price."}'
        work.append(
            ("the vector of a sentence", "/models/sentences/embed", sentence, "application/json")
        )
    port = free_port()
    print(
        "| | 1 client: per second | p50 ms | 32 clients: per second | p50 ms | |\n"
        + "|---" * 6
        + "|"
    )
    with served(port):
        for name, path, body, kind in work:
            request = load.Request(path, [body], {"Content-Type": kind})
            load.closed(port, request, 4, 2)
            one, many = (load.closed(port, request, clients, 5) for clients in (1, 32))
            assert not one.errors + many.errors
            print(
                f"| {name} | {one.rate:.3g} | {one.p50:.3g} | {many.rate:.3g} | {many.p50:.3g} | "
                f"{many.rate / one.rate:.2g}x |",
                flush=True,
            )


if __name__ == "__main__":
    main()
