"""Images, built and run for real where daemonless tools are installed.

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.tools import need

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

    def tool(self, name: str, *arguments: str, timeout: float = 300) -> str:
        storage = ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run"]
        command = [name, "--storage-driver", "overlay", *storage, *arguments]
        return self.run(*command, timeout=timeout)

    def build(self, target: str, *options: str) -> None:
        """One of the images of the Dockerfile, as ``inference-service:TARGET``."""
        self.tool(
            "buildah", "bud", "--isolation", "chroot", "--network", "host", "--pull-never",
            "--format", "docker", *package_index_access(), "--target", target, *options,
            "--tag", f"inference-service:{target}", str(ROOT), timeout=1800,
        )  # fmt: skip

    def inspect(self, kind: str, name: str) -> Any:
        return json.loads(self.tool("podman", kind, "inspect", name))[0]

    def inside(self, name: str, program: str) -> str:
        """What a Python program prints in a running container."""
        return self.tool("podman", "exec", name, "python", "-c", program).strip()


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


@contextmanager
def containers_with_a_base() -> Iterator[Containers]:
    """Container tools, with the base image in their storage."""
    need("buildah", "podman", "runc", "conmon", "mmdebstrap", "newuidmap")
    if os.geteuid() != 0:
        pytest.skip("not run: building without a daemon needs root here")
    # podman's path of its run files may have 50 characters; pytest's folders are longer
    made = Containers(Path(tempfile.mkdtemp(prefix="containers-")))
    try:
        (made.folder / "containers.conf").write_text(CONTAINERS_CONF)
        make_base(made)
        yield made
    finally:
        for folder in mounted_below(made.folder):
            subprocess.run(["umount", "-l", folder], check=False, capture_output=True, timeout=60)
        shutil.rmtree(made.folder, ignore_errors=True)


def mounted_below(folder: Path) -> list[str]:
    """Where something is mounted, the last one first (proc_pid_mountinfo(5)): the images' layers,
    and what podman mounts over its own storage."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in reversed(places) if place.startswith(f"{folder}/")]
