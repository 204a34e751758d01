"""The shipped models end to end: files in, answers out, one client against 32.

Usage: ``python benchmarks/applications.py``. Needs wrk. Decoding, resampling and JSON are part of it;
client and server share the machine's cores.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import load
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from servers import ROOT, free_port

MODELS = ROOT / "models"


@contextmanager
def served(port: int, models: object = MODELS) -> Iterator[None]:
    """The shipped models, or others."""
    command = [sys.executable, "-m", "inference_service", "serve", str(models), "--port", str(port)]
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


def save_catalogue(folder: Path, items: int) -> None:
    """A recommender of so many items, with weights that are made up: as long to run as real ones."""
    random = np.random.default_rng(1)
    weights = random.normal(0, 0.1, (items, items)).astype(np.float32)
    value = helper.make_tensor_value_info
    shape = ["batch", items]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["history", "weights"], ["scores"])],
        "catalogue",
        [value("history", TensorProto.FLOAT, shape)],
        [value("scores", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    (folder / "1").mkdir(parents=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "1/model.onnx")
    listed = [{"id": f"item-{place}"} for place in range(items)]
    (folder / "items.json").write_text(json.dumps(listed))
    (folder / "model.toml").write_text(
        '[pipeline]\nkind = "recommendation"\nitems = "items.json"\n'
    )


def catalogue() -> None:
    """Scoring everything is one matrix product: what sharing it brings."""
    names = [f"item-{place}" for place in range(8)]
    user = json.dumps({"user": names, "reasons": 0}).encode()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        save_catalogue(Path(folder) / "catalogue", 5_000)
        with served(port, folder):
            compare(port, "what goes with 8 of 5 000 items", "/models/catalogue/recommend", user)


def compare(port: int, name: str, path: str, body: bytes, kind: str = "application/json") -> None:
    """A line: one client against 32."""
    request = load.Request(path, [body], {"Content-Type": kind})
    load.closed(port, request, 4, 2)
    one, many = (load.closed(port, request, clients, 5) for clients in (1, 32))
    assert not one.errors + many.errors
    print(
        f"| {name} | {one.rate:.3g} | {one.p50:.3g} | {many.rate:.3g} | {many.p50:.3g} | "
        f"{many.rate / one.rate:.2g}x |",
        flush=True,
    )


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
            compare(port, name, path, body, kind)
    catalogue()


if __name__ == "__main__":
    main()
