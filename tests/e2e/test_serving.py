"""The service as its users meet it: real models, real clients, real signals."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import httpx
import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests import onnx_models
from tests.conftest import MODELS, RunningServer
from tests.support import LONGEST_WAIT

Digits = tuple[np.ndarray, np.ndarray]


def samples(server: RunningServer) -> dict[str, float]:
    """The metrics, summed over their labels, and each also by one label's value."""
    text = requests.get(server.url + "/metrics", timeout=20).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
            for label, value in sample.labels.items():
                key = f"{sample.name}:{label}={value}"
                found[key] = found.get(key, 0) + sample.value
    return found


def grown(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after.get(name, 0) - before.get(name, 0)


def test_held_out_digits_one_by_one(server: RunningServer, digits: Digits) -> None:
    images, labels = digits
    right = 0
    with requests.Session() as session:
        for image, label in zip(images, labels, strict=True):
            answer = session.post(
                server.url + "/v1/models/digits:predict",
                json={"instances": [image.tolist()]},
                timeout=20,
            ).json()
            right += answer["predictions"][0]["label"] == label
    published = json.loads((MODELS / "digits" / "metrics.json").read_text())["accuracy"]
    assert right / len(labels) == pytest.approx(published, abs=0.0005)
    assert right / len(labels) >= 0.98


def test_held_out_flights(server: RunningServer) -> None:
    with np.load(MODELS / "flight-delay" / "holdout.npz") as data:
        columns = {name: data[name].tolist() for name in data.files}
    late = np.array(columns.pop("late"))
    answer = requests.post(
        server.url + "/v1/models/flight-delay:predict", json={"inputs": columns}, timeout=20
    ).json()
    probability = np.array(answer["outputs"])
    assert ((probability >= 0.5) == late).mean() >= 0.89
    order = np.argsort(probability)
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    positive, negative = late.sum(), (~late).sum()
    auc = (ranks[late].sum() - positive * (positive + 1) / 2) / (positive * negative)
    published = json.loads((MODELS / "flight-delay" / "metrics.json").read_text())["auc"]
    assert auc == pytest.approx(published, abs=0.02), "2 000 of the held-out flights"


def test_concurrent_clients_share_runs_and_get_their_own_answers(
    server: RunningServer, digits: Digits
) -> None:
    """32 clients at once: right answers, batches of more than one row, fewer runs than requests."""
    images, _ = digits
    alone = requests.post(
        server.url + "/v1/models/digits:predict", json={"inputs": images.tolist()}, timeout=20
    ).json()["outputs"]["label"]
    before = samples(server)

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=32)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=30) as client:

            async def ask(image: np.ndarray) -> int:
                body = {"instances": [image.tolist()]}
                answer = await client.post("/v1/models/digits:predict", json=body)
                return int(answer.json()["predictions"][0]["label"])

            return await asyncio.gather(*(ask(image) for image in images))

    assert asyncio.run(run()) == alone
    after = samples(server)
    requests_made = grown(before, after, "inference_requests_total:outcome=ok")
    assert requests_made == len(images)
    assert grown(before, after, "inference_batch_rows_sum") == len(images)
    assert grown(before, after, "inference_runs_total") < requests_made
    single = grown(before, after, "inference_batch_rows_bucket:le=1.0")
    assert single < grown(before, after, "inference_batch_rows_count"), (
        "some batches have rows to share"
    )


def test_one_poisoned_request_among_32_fails_alone(zoo_server: RunningServer) -> None:
    """An id that the table doesn't have makes the whole run fail; only its sender is told."""
    url = zoo_server.url + "/v1/models/embedding:predict"
    barrier = Barrier(32)

    def ask(number: int) -> requests.Response:
        body = {"instances": [99 if number == 13 else number % 10]}
        with requests.Session() as session:
            session.get(zoo_server.url + "/v2/health/live", timeout=20)
            barrier.wait(20)
            return session.post(url, json=body, timeout=20)

    before = samples(zoo_server)
    for _ in range(10):
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(ask, range(32)))
        for number, answer in enumerate(answers):
            if number == 13:
                assert answer.status_code == 400
                assert "indices element out of data bounds" in answer.json()["error"]
            else:
                assert answer.json() == {"predictions": [[number % 10] * 2]}
    after = samples(zoo_server)
    runs = grown(before, after, "inference_runs_total")
    batches = grown(before, after, "inference_batches_total")
    assert runs > batches, "failed batches were bisected"


def test_a_script_of_the_classic_tutorial_works(
    serve: Callable[..., RunningServer], digits: Digits
) -> None:
    """One .onnx file, no configuration."""
    server = serve(MODELS / "digits" / "1" / "model.onnx")
    images, labels = digits
    url = server.url
    input_data = images[0].tolist()
    prediction = requests.post(url + "/predict", json=input_data, timeout=20).json()
    assert prediction["label"] == labels[0]
    assert len(prediction["probabilities"]) == 10
    input_data = {"image": images[:5].tolist()}
    assert (
        requests.post(url + "/predict", json=input_data, timeout=20).json()["label"]
        == labels[:5].tolist()
    )
    input_data = {"instances": images[:2].tolist()}
    answer = requests.post(url + "/predict", json=input_data, timeout=20).json()
    assert [row["label"] for row in answer["predictions"]] == labels[:2].tolist()
    assert "model version 1  POST" in server.announcement


def test_the_default_model_can_be_chosen(
    serve: Callable[..., RunningServer], digits: Digits
) -> None:
    server = serve(MODELS, "--default-model", "digits")
    answer = requests.post(server.url + "/predict", json=digits[0][0].tolist(), timeout=20)
    assert answer.json()["label"] == digits[1][0]


def test_the_announcement_tells_address_models_signatures_and_docs(server: RunningServer) -> None:
    for part in (
        f"listens on {server.url}",
        "digits version 1",
        "takes   image float32[batch, 64]",
        "gives   label int64[batch], probabilities float32[batch, 10]",
        f"docs    {server.url}/docs",
    ):
        assert part in server.announcement


def test_sigterm_under_load_answers_everything_that_was_accepted(
    serve: Callable[..., RunningServer], zoo: Path
) -> None:
    """Not ready first, still serving, then, at a second signal, the door closes; no accepted request
    is lost; exit 0."""
    server = serve(zoo, INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK="60")
    body = json.dumps({"instances": [[1.0] * 2048] * 4})
    outcomes: list[str] = []
    leaving_seen: list[str] = []

    def client() -> None:
        with requests.Session() as session:
            while True:
                try:
                    answer = session.post(
                        server.url + "/v1/models/heavy:predict", data=body, timeout=30,
                        headers={"Content-Type": "application/json"},
                    )  # fmt: skip
                except requests.ConnectionError as error:
                    refused = "Connection refused" in str(error)
                    outcomes.append("refused" if refused else f"lost: {error}")
                    return
                outcomes.append(str(answer.status_code))
                if answer.headers.get("connection") == "close":
                    leaving_seen.append("close")

    clients = [Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    while len(outcomes) < 40:
        time.sleep(0.01)
    server.process.terminate()
    while requests.get(server.url + "/v2/health/ready", timeout=20).status_code == 200:
        time.sleep(0.01)
    answer = requests.get(server.url + "/v2/health/ready", timeout=20)
    assert answer.json() == {"error": "the service is shutting down"}
    assert requests.get(server.url + "/v2/health/live", timeout=20).status_code == 200
    while not leaving_seen:  # clients are asked to open their next connection elsewhere
        time.sleep(0.01)
    server.process.terminate()
    for thread in clients:
        thread.join(timeout=30)
    assert server.process.wait(timeout=30) == 0
    assert set(outcomes) == {"200", "refused"}
    assert outcomes.count("refused") == len(clients)


def test_a_client_that_hangs_up_withdraws_its_request(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """While the model is busy, 20 clients queue and hang up: nothing of theirs is run."""
    path = onnx_models.save(onnx_models.deep(layers=100), tmp_path / "deep.onnx")
    given = {
        "RUNTIME__SLOTS": "1", "BATCHING__MAX_BATCH_SIZE": "4096", "BATCHING__MAX_QUEUE_ROWS": "100000",
        "BATCHING__DEFAULT_DEADLINE": "600", "LIMITS__REQUEST_TIMEOUT": "600",
    }  # fmt: skip
    server = serve(path, **{f"INFERENCE_SERVICE_{name}": value for name, value in given.items()})
    busy = json.dumps({"instances": [[1] * 256] * 4000})
    url = server.url + "/v1/models/deep:predict"
    blockers = [Thread(target=lambda: requests.post(url, data=busy, timeout=250)) for _ in range(2)]
    for blocker in blockers:
        blocker.start()

    async def queued(rows: int) -> None:
        async with asyncio.timeout(LONGEST_WAIT):
            while (await asyncio.to_thread(samples, server))["inference_queue_rows"] < rows:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def hang_up() -> None:
        await queued(4000)  # one runs, the other one waits
        async with httpx.AsyncClient(timeout=250) as client:
            body = {"instances": [[1] * 256] * 100}
            asks = [asyncio.create_task(client.post(url, json=body)) for _ in range(20)]
            await queued(6000)
            for ask in asks:
                ask.cancel()
            await asyncio.gather(*asks, return_exceptions=True)

    asyncio.run(hang_up())
    for blocker in blockers:
        blocker.join(250)
    after = samples(server)
    assert after["inference_requests_total:outcome=cancelled"] == 20
    assert after["inference_requests_total:outcome=ok"] == 2
    assert after["inference_batch_rows_sum"] == 8000, "no row of theirs was run"
    assert after["inference_in_flight_requests"] == after["inference_queue_rows"] == 0


def test_a_full_queue_refuses_at_once_with_retry_after(
    serve: Callable[..., RunningServer], zoo: Path
) -> None:
    server = serve(
        zoo,
        INFERENCE_SERVICE_BATCHING__MAX_QUEUE_ROWS="8",
        INFERENCE_SERVICE_BATCHING__MAX_BATCH_SIZE="8",
        INFERENCE_SERVICE_RUNTIME__SLOTS="1",
    )
    url = server.url + "/v1/models/heavy:predict"

    def ask(_: int) -> requests.Response:
        return requests.post(url, json={"instances": [[1.0] * 2048] * 6}, timeout=60)

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(72)))
    assert {answer.status_code for answer in answers} == {200, 503}
    refusal = next(answer for answer in answers if answer.status_code == 503)
    assert int(refusal.headers["retry-after"]) >= 1
    assert "rows are queued for this model, the limit is 8" in refusal.json()["error"]
    refused = sum(answer.status_code == 503 for answer in answers)
    after = samples(server)
    assert after["inference_rejected_total:reason=queue_full"] == refused
    assert after["inference_requests_total:outcome=rejected"] == refused


def test_recorded_traffic_tells_when_and_how_much_but_not_what(
    serve: Callable[..., RunningServer], zoo: Path, tmp_path: Path
) -> None:
    """And ``tune`` reads what the recorder wrote."""
    path = tmp_path / "traffic.jsonl"
    server = serve(
        zoo,
        INFERENCE_SERVICE_TELEMETRY__RECORD_TRAFFIC=str(path),
        INFERENCE_SERVICE_LIMITS__CLIENT_HEADER="X-Api-Key",
    )
    for i in range(20):
        answer = requests.post(
            server.url + "/v1/models/heavy:predict",
            json={"instances": [[0.125] * 2048] * (1 + i % 2)},
            headers={"X-Api-Key": f"secret-{i % 3}", "X-Request-Timeout": "20"},
            timeout=20,
        )
        assert answer.status_code == 200
    server.process.terminate()
    assert server.process.wait(timeout=30) == 0
    text = path.read_text()
    assert "secret" not in text
    assert "0.125" not in text
    entries = [json.loads(line) for line in text.splitlines()]
    assert [entry["rows"] for entry in entries] == [1, 2] * 10
    assert {entry["client"] for entry in entries} == {0, 1, 2}
    assert all(entry["timeout"] <= 20 for entry in entries)
    costs = tmp_path / "costs.json"
    costs.write_text(command("check", str(zoo / "heavy"), "--profile", "--json").stdout)
    found = command("tune", "--costs", str(costs), "--trace", str(path), "--slo", "500", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)[0]["met"]


def test_a_broken_model_fails_alone(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    onnx_models.save(onnx_models.doubler(), tmp_path / "good" / "1" / "model.onnx")
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "model.onnx").write_bytes(b"garbage")
    server = serve(tmp_path)
    good = requests.post(
        server.url + "/v1/models/good:predict", json={"instances": [[1, 2, 3]]}, timeout=20
    )
    assert good.json() == {"predictions": [[2, 4, 6]]}
    bad = requests.post(server.url + "/v1/models/bad:predict", json={"instances": [1]}, timeout=20)
    assert bad.status_code == 503
    assert "model 'bad' version 1 failed to load: onnxruntime can't load it" in bad.json()["error"]
    assert requests.get(server.url + "/v2/health/ready", timeout=20).status_code == 200
    told = "bad version 1 FAILED"
    assert told in server.announcement or server.output(told)
    strict = serve(tmp_path, INFERENCE_SERVICE_HEALTH__READY_WHEN="all")
    ready = requests.get(strict.url + "/v2/health/ready", timeout=20)
    assert ready.status_code == 503
    assert "model 'bad' version 1 failed" in ready.json()["error"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inference_service", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_serving_nothing_fails_with_a_reason(tmp_path: Path) -> None:
    run = command("serve", str(tmp_path), "--port", "0")
    assert run.returncode == 1
    assert f"Error: no models in {tmp_path}: expected" in run.stderr
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    run = command("serve", str(tmp_path), "--port", "0")
    assert run.returncode == 1
    assert "bad version 1 FAILED: onnxruntime can't load it" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_port_that_is_taken_is_told(server: RunningServer) -> None:
    run = command("serve", str(MODELS), "--port", server.url.rsplit(":", 1)[1])
    assert run.returncode == 1
    assert "can't listen on 127.0.0.1:" in run.stderr
    assert "Address already in use; another program listens there" in run.stderr
    assert "Traceback" not in run.stderr


def test_check_reports_what_would_happen(zoo: Path) -> None:
    run = command("check", str(zoo), "--json")
    assert run.returncode == 0, run.stderr
    reports = {(r["model"], r["version"]): r for r in json.loads(run.stdout)}
    assert reports["doubler", 2]["dynamic_axes"] == ["x.batch"]
    assert reports["doubler", 2]["batching"] == "merge"
    assert reports["fixed-reshape", 1]["batching"] == "split"
    assert "Reshape node 'flatten'" in reports["fixed-reshape", 1]["warnings"][0]
    assert command("check", str(zoo / "fixed-reshape"), "--strict").returncode == 1


def test_check_in_words_with_a_profile() -> None:
    run = command("check", str(MODELS / "digits"), "--profile")
    assert run.returncode == 0
    assert "batching yes, rows of several requests share a run of as many" in run.stdout
    assert re.search(r"\n +1 rows +\d+\.\d+ ms +\d+ rows/s", run.stdout)


def test_check_fails_for_a_broken_model_and_for_a_wrong_path(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    assert command("check", str(tmp_path)).returncode == 1
    wrong = command("check", str(tmp_path / "nowhere"))
    assert wrong.returncode == 2
    assert "does not exist" in wrong.stderr


def test_onnxruntimes_telemetry_is_off() -> None:
    code = (
        "import inference_service.runtime.session, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "1"


def test_the_help_is_quick_and_names_the_commands() -> None:
    run = command("--help")
    for name in ("serve", "check", "inference-service serve models/"):
        assert name in run.stdout
    code = "import inference_service.cli, sys; print('onnxruntime' in sys.modules)"
    loaded: Any = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "False"


def test_steps_of_the_manifest_are_applied_around_the_run(
    serve: Callable[..., RunningServer], tmp_path: Path, digits: Digits
) -> None:
    """The digits model for pixels from 0 to 255, answering with the two best labels."""
    file = tmp_path / "digits" / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes((MODELS / "digits" / "1" / "model.onnx").read_bytes())
    names = json.dumps([f"digit {i}" for i in range(10)])
    (tmp_path / "digits" / "model.toml").write_text(
        f"labels.probabilities = {names}\n"
        "[preprocess.image]\nscale = 0.0627451\n[postprocess.probabilities]\ntop_k = 2\n"
    )
    server = serve(tmp_path)
    image, label = digits[0][0] * 255 / 16, digits[1][0]
    answer = requests.post(server.url + "/predict", json=image.tolist(), timeout=20).json()
    assert answer["probabilities_labels"][0] == f"digit {label}"
    assert len(answer["probabilities"]) == 2
    assert "probabilities_labels string[batch, 2]" in server.announcement.replace("any", "batch")
    outputs = requests.get(server.url + "/v2/models/digits", timeout=20).json()["outputs"]
    assert {"name": "probabilities_labels", "datatype": "BYTES", "shape": [-1, 2]} in outputs
