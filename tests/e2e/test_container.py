"""The Dockerfile, linted everywhere; its images built and run for real (tests/containers.py)."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import yaml

from tests.conftest import MODELS, ROOT
from tests.containers import DOCKERFILE, Containers, base_image, containers_with_a_base
from tests.deploy.charts import rendered
from tests.ports import free_port

pytestmark = pytest.mark.timeout(1800)  # the first one builds the images

LEAN, FULL = "inference-service:lean", "inference-service:full"


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    run = subprocess.run(
        [hadolint, DOCKERFILE], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stdout


def test_the_base_is_pinned_to_a_patch_release() -> None:
    assert re.search(r":3\.\d+\.\d+-slim-\w+$", base_image())


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """Both images."""
    with containers_with_a_base() as made:
        made.build("lean", "--layers")
        made.build("full", "--layers")
        yield made


@contextmanager
def running(
    containers: Containers, image: str, *options: str, memory: str = "512m"
) -> Iterator[tuple[str, str]]:
    """A container with hardly any rights, ready: its name and URL."""
    port = free_port()
    name = containers.tool(
        "podman", "run", "--detach", "--network", "host", "--read-only", "--tmpfs", "/tmp",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", memory,
        "--cpus", "1", "--env", f"INFERENCE_SERVICE_PORT={port}",
        "--env", "INFERENCE_SERVICE_HOST=127.0.0.1", *options, image,
    ).strip()  # fmt: skip
    try:
        wait_until_ready(containers, f"http://127.0.0.1:{port}", name)
        yield name, f"http://127.0.0.1:{port}"
    finally:
        containers.tool("podman", "rm", "--force", name)


def wait_until_ready(containers: Containers, url: str, name: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if requests.get(f"{url}/v2/health/ready", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise AssertionError(containers.tool("podman", "logs", name))


def metric(url: str, name: str) -> float:
    text = requests.get(f"{url}/metrics", timeout=20).text
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


@pytest.mark.container
def test_the_image_serves_under_a_read_only_root_without_rights_and_stops_cleanly(
    containers: Containers, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    with running(containers, LEAN) as (name, url):
        images, labels = digits
        body = {"instances": images.tolist()}
        answer = requests.post(f"{url}/v1/models/digits:predict", json=body, timeout=30).json()
        right = np.array([row["label"] for row in answer["predictions"]]) == labels
        assert right.mean() > 0.98
        assert containers.tool("podman", "exec", name, "id", "-u").strip() == "10001"
        containers.tool("podman", "healthcheck", "run", name)
        containers.tool("podman", "stop", "--time", "20", name)
        assert containers.inspect("container", name)["State"]["ExitCode"] == 0


@pytest.mark.container
def test_the_documentation_is_in_the_image_and_what_makes_models_is_not(
    containers: Containers,
) -> None:
    with running(containers, LEAN) as (name, url):
        page = requests.get(f"{url}/guide/metrics.html", timeout=30)
        assert page.status_code == 200
        assert "inference_requests_total" in page.text
        assert 'href="guide/"' in requests.get(url, timeout=30).text
        found = "import pathlib; print(*(p.name for p in pathlib.Path('/models').rglob('*.py')))"
        assert containers.inside(name, found) == ""


@pytest.mark.container
def test_threads_and_memory_follow_the_limits_of_the_container(containers: Containers) -> None:
    with running(containers, LEAN, memory="384m") as (name, url):
        cores = "import inference_service.runtime.threads as t; print(t.usable_cores())"
        assert containers.inside(name, cores) == "1"
        assert metric(url, "inference_memory_limit_bytes") == 384 * 2**20
        status = containers.inside(name, "print(open('/proc/1/status').read())")
        threads = re.search(r"^Threads:\s+(\d+)$", status, re.MULTILINE)
        assert threads is not None
        assert int(threads[1]) < 10, "no pool of a thread for each core of the host"


@pytest.mark.container
def test_a_start_with_what_was_found_out_before_takes_two_seconds(
    containers: Containers,
) -> None:
    """Of a core: other work shares the machine that runs the tests."""
    volume = ("--volume", "kept:/cache")
    with running(containers, LEAN, *volume) as (name, _):
        assert "verdict.json" in containers.tool("podman", "exec", name, "ls", "-R", "/cache")
    with running(containers, LEAN, *volume) as (_, url):
        assert metric(url, "process_cpu_seconds_total") < 2


APPLICATIONS = {
    "imagenet/classify": ("imagenet/examples/espresso.jpg", "espresso"),
    "language/classify": ("language/examples/polish.txt", "Polish"),
    "ocr/read": ("ocr/examples/page.png", "Region-based segmentation"),
    "speech/detect": ("speech/examples/austen.mp3", "segments"),
    "transcription/transcribe": ("transcription/examples/cards-001.flac", "text"),
}


MISSING_MODULES = """
import importlib, pkgutil, inference_service
for found in pkgutil.walk_packages(inference_service.__path__, "inference_service."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            print(error.name)
"""


@pytest.mark.container
def test_the_full_image_reads_pictures_sound_and_text(containers: Containers) -> None:
    with running(containers, FULL, "--env", "INFERENCE_SERVICE_GRPC__PORT=0", memory="2g") as (
        name,
        url,
    ):
        for path, (file, wanted) in APPLICATIONS.items():
            data = (MODELS / file).read_bytes()
            kind = {"Content-Type": "text/plain"} if file.endswith("txt") else {}
            answer = requests.post(f"{url}/models/{path}", data=data, headers=kind, timeout=120)
            assert answer.status_code == 200, answer.text
            assert wanted in answer.text
        # What was taken out of the libraries (deploy/image/prune.py) is not missed by any of these.
        needed = "av, cc3d, cryptography, grpc, jwt, pi_heif, PIL, soundfile, soxr, tokenizers"
        containers.inside(name, f"import {needed}")
        missing = set(containers.inside(name, MISSING_MODULES).split())
        assert missing == set(), "every extra of serving is in the image"


@pytest.mark.container
@pytest.mark.parametrize(("image", "bound"), [(LEAN, 168e6), (FULL, 410e6)])
def test_the_images_are_small_and_have_no_installer(
    containers: Containers, image: str, bound: float
) -> None:
    added = containers.inspect("image", image)["Size"]
    added -= containers.inspect("image", base_image())["Size"]
    assert added < bound, f"what {image} adds to its base, shipped models included"
    asked = "import importlib.util as u; print(*(u.find_spec(n) for n in ('pip', 'setuptools')))"
    shown = containers.tool(
        "podman", "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", asked
    )
    assert shown.strip() == "None None"


@pytest.mark.container
@pytest.mark.parametrize("image", [LEAN, FULL])
def test_the_images_tell_what_is_in_them(containers: Containers, image: str) -> None:
    labels = containers.inspect("image", image)["Labels"]
    assert labels["org.opencontainers.image.title"] == "inference-service"
    assert labels["org.opencontainers.image.base.name"] == base_image()
    listed = containers.tool(
        "podman", "run", "--rm", "--network", "none", "--entrypoint", "cat", image,
        "/opt/venv/share/sbom.cdx.json",
    )  # fmt: skip
    bill = json.loads(listed)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    versions = {found["name"]: found["version"] for found in bill["components"]}
    assert versions["onnx-inference-service"] == labels["org.opencontainers.image.version"]
    names = "import importlib.metadata as m; print(*{d.name for d in m.distributions()})"
    installed = containers.tool(
        "podman", "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", names
    )
    assert set(versions) == set(installed.split())


@pytest.mark.container
def test_a_folder_of_ones_own_models_can_be_mounted(containers: Containers) -> None:
    report = containers.tool(
        "podman", "run", "--rm", "--network", "host", "--volume", f"{ROOT}/models/digits:/models:ro",
        LEAN, "check",
    )  # fmt: skip
    assert "inputs   image float32[batch, 64]" in report


@pytest.mark.container
def test_the_locale_of_text_models_is_in_the_image(containers: Containers) -> None:
    asked = "import locale; [locale.setlocale(locale.LC_ALL, n) for n in ('en_US', 'en_US.UTF-8')]"
    containers.tool(
        "podman", "run", "--rm", "--network", "host", "--entrypoint", "python", LEAN,
        "-c", f"{asked}; assert 'ÄΣЙ'.lower() == 'äσй'",
    )  # fmt: skip


AS_A_USER = """
for file in passwd group subuid subgid; do mount --bind "$0/$file" "/etc/$file" || exit; done
export HOME="$0/home" XDG_RUNTIME_DIR="$0/run" TMPDIR="$0/home" CONTAINERS_CONF="$0/containers.conf"
cd "$0/home"
exec setpriv --reuid 12345 --regid 12345 --clear-groups podman --storage-driver overlay "$@"
"""


@pytest.mark.container
def test_a_user_without_rights_runs_the_image(containers: Containers, tmp_path: Path) -> None:
    """In a mount namespace of its own, so that the machine's users stay as they are."""
    folder = containers.folder / "rootless"
    for name in ("home", "run"):
        (folder / name).mkdir(parents=True, mode=0o700)
        subprocess.run(["chown", "12345:12345", folder / name], check=True, timeout=60)
    containers.folder.chmod(0o711)
    (folder / "containers.conf").write_text((containers.folder / "containers.conf").read_text())
    for name, line in {
        "passwd": f"tester:x:12345:12345::{folder}/home:/bin/sh",
        "group": "tester:x:12345:",
    }.items():
        (folder / name).write_text(Path("/etc", name).read_text() + line + "\n")
    for name in ("subuid", "subgid"):
        (folder / name).write_text("tester:200000:65536\n")
        Path("/etc", name).touch()  # something to mount over
    archive = folder / "image.tar"
    containers.tool("podman", "save", "--format", "oci-archive", "--output", str(archive), LEAN)
    archive.chmod(0o644)

    def podman(*arguments: str) -> str:
        return containers.run("unshare", "-m", "sh", "-c", AS_A_USER, str(folder), *arguments)

    podman("load", "--input", str(archive))
    report = podman(
        "run", "--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", f"localhost/{LEAN}", "check",
    )  # fmt: skip
    assert "inputs   image float32[batch, 64]" in report


ASKED = """
import json, urllib.request
body = json.dumps({"instances": [[0.0] * 64]}).encode()
request = urllib.request.Request("http://127.0.0.1:8000/v1/models/digits:predict", body)
print(urllib.request.urlopen(request, timeout=20).read().decode())
"""
READY = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=5)"


@pytest.mark.container
def test_podman_runs_the_deployment_that_the_chart_renders(
    containers: Containers, tmp_path: Path
) -> None:
    """As it is rendered but for the ports: podman would publish them on the machine that tests."""
    found = [one for one in rendered({}) if one["kind"] in {"ConfigMap", "Deployment"}]
    (deployment,) = (one for one in found if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    del container["ports"]
    containers.tool("podman", "tag", LEAN, container["image"])
    file = tmp_path / "deployment.yaml"
    file.write_text(yaml.safe_dump_all(found))
    containers.tool("podman", "kube", "play", "--network", "none", str(file))
    name = f"{deployment['metadata']['name']}-pod-0-{container['name']}"
    try:
        wait_within(containers, name)
        assert json.loads(containers.inside(name, ASKED))["predictions"][0].keys() >= {"label"}
        limits: Any = containers.inspect("container", name)["HostConfig"]
        assert (limits["NanoCpus"], limits["Memory"]) == (2_000_000_000, 2**30)
        status = containers.inside(name, "print(open('/proc/1/status').read())")
        assert {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} < set(
            status.splitlines()
        )
        kept = containers.tool("podman", "exec", name, "ls", "/cache")
        assert "verdict.json" in kept
        containers.tool("podman", "stop", "--time", "45", name)
        assert containers.inspect("container", name)["State"]["ExitCode"] == 0
    finally:
        containers.tool("podman", "kube", "down", str(file))


def wait_within(containers: Containers, name: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            containers.inside(name, READY)
        except AssertionError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(containers.tool("podman", "logs", name))
