"""A program: ``prune.py VENV`` takes out of an environment what serving never reads.

Wheels bring their tests, headers, sources of their extensions, debugging symbols, and a second
ONNX Runtime for programs in C. Tracebacks need the Python sources: those stay.
tests/e2e/test_container.py loads every module of the service in the image that comes of it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

FOLDERS = [
    "onnx/backend/test",  # models with their outputs: 17 MB
    "onnxruntime/tools",  # for builds for telephones
    "onnxruntime/transformers/models",  # exporters of single models, which need torch
    "numpy/distutils",
    "numpy/f2py",
]
TESTS = {"test", "tests"}
SUFFIXES = {".a", ".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".pxd", ".pyi", ".pyx"}
# The module that Python loads has all of the runtime in it; this one is for other programs.
LIBRARIES = ["onnxruntime/capi/libonnxruntime.so*"]


def shared_objects(site: Path) -> list[Path]:
    """Those that may be stripped: strip misaligns the patched ones in ``NAME.libs``."""
    found = [path for path in site.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    return sorted(path for path in found if not path.relative_to(site).parts[0].endswith(".libs"))


def main() -> None:
    """Prune, then strip."""
    (site,) = Path(sys.argv[1]).glob("lib/python3*/site-packages")
    for folder in FOLDERS:
        shutil.rmtree(site / folder, ignore_errors=True)
    for path in [path for path in site.glob("*/**/") if path.name in TESTS]:
        shutil.rmtree(path, ignore_errors=True)
    for path in [path for path in site.rglob("*") if path.suffix in SUFFIXES]:
        path.unlink()
    for pattern in LIBRARIES:
        for path in site.glob(pattern):
            path.unlink()
    # What the dynamic loader needs stays, with the names of exported functions.
    subprocess.run(["strip", "--strip-unneeded", *shared_objects(site)], check=True, timeout=300)


main()
