"""The Dockerfile, linted everywhere; built and run for real where daemonless builders are installed.

There need be no registry: a stand-in for the pinned base image is made from Debian's packages and the
interpreter that runs the tests, and is given the base image's name.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.conftest import ROOT
from tests.ports import free_port
from tests.tools import need

pytestmark = pytest.mark.timeout(900)  # the first one builds the image

DOCKERFILE = ROOT / "Dockerfile"
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=8192:8192", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


def base_image() -> str:
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    run = subprocess.run(
        [hadolint, DOCKERFILE], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stdout


def test_the_base_is_pinned_to_a_patch_release() -> None:
    assert re.search(r":3\.\d+\.\d+-slim-\w+$", base_image())


@dataclass
class Containers:
    """podman and buildah with a storage of their own."""

    folder: Path

    def run(self, *command: str, timeout: float = 300) -> str:
        environment = {
            **os.environ,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "TMPDIR": str(self.folder),
        }
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=environment
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def tool(self, name: str, *arguments: str) -> str:
        storage = ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run"]
        return self.run(name, "--storage-driver", "overlay", *storage, *arguments)


def make_base(containers: Containers) -> None:
    """Debian's minimal system plus this interpreter's installation at /usr/local."""
    root = containers.folder / "base"
    libraries = ("ca-certificates", "libssl3", "libffi8", "libsqlite3-0", "libbz2-1.0", "liblzma5",
                 "libreadline8", "libncursesw6", "libuuid1", "zlib1g", "libexpat1")  # fmt: skip
    containers.run(
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(libraries)}",
        "bookworm", str(root),
    )  # fmt: skip
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    source, local = Path(sys.base_prefix), root / "usr" / "local"
    shutil.copy2(source / "bin" / version, local / "bin" / version)
    for name in ("python3", "python"):
        (local / "bin" / name).symlink_to(version)
    for library in (source / "lib").glob("libpython3*"):
        shutil.copy2(library, local / "lib", follow_symlinks=False)
    ignored = shutil.ignore_patterns("site-packages", "dist-packages", "test", "__pycache__")
    shutil.copytree(
        source / "lib" / version, local / "lib" / version, ignore=ignored, symlinks=True
    )
    containers.run("chroot", str(root), "/sbin/ldconfig")
    tar = str(containers.folder / "base.tar")
    containers.run(
        "tar", "-C", str(root), "--exclude=./dev/*", "--exclude=./proc/*", "-cf", tar, "."
    )
    path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    containers.tool("podman", "import", "--change", path, tar, base_image())


def package_index_access() -> list[str]:
    """This machine's way to its package index, where it isn't the default one, for the build."""
    candidates = [
        Path("/etc/pip.conf"),
        Path.home() / ".config/pip/pip.conf",
        Path("/etc/ssl/certs"),
    ]
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout
    candidates += [Path(found) for found in re.findall(r"(?:file://)?(/[\w./-]+)", listed)]
    # A local index "…/simple" links to files beside that folder.
    candidates = [path.parent if path.name == "simple" else path for path in candidates]
    mounts = {str(path) for path in candidates if path.exists()}
    options = [part for path in sorted(mounts) for part in ("--volume", f"{path}:{path}:ro")]
    return options + [
        part
        for name, value in os.environ.items()
        if name.startswith("PIP_")
        for part in ("--build-arg", f"{name}={value}")
    ]


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """The image "inference-service", built from the Dockerfile."""
    need("buildah", "podman", "runc", "conmon", "mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("not run: building without a daemon needs root here")
    # podman's path of its run files may have 50 characters; pytest's folders are longer
    made = Containers(Path(tempfile.mkdtemp(prefix="containers-")))
    (made.folder / "containers.conf").write_text(CONTAINERS_CONF)
    make_base(made)
    made.tool(
        "buildah", "bud", "--isolation", "chroot", "--network", "host", "--pull-never",
        "--format", "docker", *package_index_access(), "--tag", "inference-service", str(ROOT),
    )  # fmt: skip
    yield made
    for folder in made.folder.glob("root/overlay/*/merged"):
        subprocess.run(["umount", "-l", folder], check=False, capture_output=True, timeout=60)
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.mark.container
def test_the_image_serves_under_a_read_only_root_without_rights_and_stops_cleanly(
    containers: Containers, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    port = free_port()
    name = containers.tool(
        "podman", "run", "--detach", "--network", "host", "--read-only", "--tmpfs", "/tmp",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "512m",
        "--cpus", "1", "--env", f"INFERENCE_SERVICE_PORT={port}",
        "--env", "INFERENCE_SERVICE_HOST=127.0.0.1", "inference-service",
    ).strip()  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(containers, url, name)
        images, labels = digits
        body = {"instances": images.tolist()}
        answer = requests.post(f"{url}/v1/models/digits:predict", json=body, timeout=30).json()
        right = np.array([row["label"] for row in answer["predictions"]]) == labels
        assert right.mean() > 0.98
        assert containers.tool("podman", "exec", name, "id", "-u").strip() == "10001"
        threads = "import inference_service.runtime.threads as t; print(t.usable_cores())"
        assert containers.tool("podman", "exec", name, "python", "-c", threads).strip() == "1"
        containers.tool("podman", "healthcheck", "run", name)
        containers.tool("podman", "stop", "--time", "20", name)
        state = json.loads(containers.tool("podman", "inspect", name))[0]["State"]
        assert state["ExitCode"] == 0
    finally:
        containers.tool("podman", "rm", "--force", name)


def wait_until_ready(containers: Containers, url: str, name: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if requests.get(f"{url}/v2/health/ready", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise AssertionError(containers.tool("podman", "logs", name))


@pytest.mark.container
def test_the_image_is_small_and_has_no_installer_of_its_own(containers: Containers) -> None:
    base, image = (
        json.loads(containers.tool("podman", "image", "inspect", name))[0]["Size"]
        for name in (base_image(), "inference-service")
    )
    # Of these, PyAV (the sound of phones and browsers) takes 104 MB.
    assert image - base < 560e6, "what we add to the base, shipped models and all extras included"
    site = "import importlib.util as u; print(u.find_spec('pip'), u.find_spec('onnxruntime') is not None)"
    shown = containers.tool(
        "podman",
        "run",
        "--rm",
        "--network",
        "host",
        "--entrypoint",
        "python",
        "inference-service",
        "-c",
        site,
    )
    assert shown.strip() == "None True"


@pytest.mark.container
def test_a_folder_of_ones_own_models_can_be_mounted(containers: Containers) -> None:
    report = containers.tool(
        "podman", "run", "--rm", "--network", "host", "--volume", f"{ROOT}/models/digits:/models:ro",
        "inference-service", "check",
    )  # fmt: skip
    assert "inputs   image float32[batch, 64]" in report


@pytest.mark.container
def test_the_locale_of_text_models_is_in_the_image(containers: Containers) -> None:
    asked = "import locale; [locale.setlocale(locale.LC_ALL, n) for n in ('en_US', 'en_US.UTF-8')]"
    containers.tool(
        "podman", "run", "--rm", "--network", "host", "--entrypoint", "python",
        "inference-service", "-c", f"{asked}; assert 'ÄΣЙ'.lower() == 'äσй'",
    )  # fmt: skip
