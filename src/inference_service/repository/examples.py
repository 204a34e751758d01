"""Files to try a model with: the folder ``examples`` beside a model."""

from pathlib import Path

from inference_service.core.examples import MEDIA_TYPES, ExampleFile

_LARGEST = 64 * 1024  # bytes; it is written into the OpenAPI document
_REQUEST = ".request.json"
_MOST = 24
_MOST_BYTES = 4 * 1024 * 1024  # of a file that the home page offers


def example_file(version: Path) -> bytes:
    """The smallest example beside a version's folder or in it; b"" where there is none."""
    files = [one for one in example_files(version) if one.size <= _LARGEST and not one.request]
    if not files:
        return b""
    try:
        smallest = min(files, key=lambda one: (one.size, one.path))
        return Path(smallest.path).read_bytes()
    except OSError:
        return b""


def example_files(version: Path) -> tuple[ExampleFile, ...]:
    """The examples in a version's folder or, where it has none, beside it, by name.

    ``NAME.request.json`` is the body of a request, any other JSON is not an example. Large files
    and more than two dozen are left out.
    """
    for folder in (version / "examples", version.parent / "examples"):
        try:
            found = [_example(one) for one in sorted(folder.iterdir())[: 8 * _MOST]]
        except OSError:  # there is none, or none that can be read
            continue
        if examples := [one for one in found if one is not None]:
            return tuple(examples[:_MOST])
    return ()


def _example(path: Path) -> ExampleFile | None:
    suffix = path.suffix.lower()
    request = path.name.lower().endswith(_REQUEST)
    if (suffix not in MEDIA_TYPES or suffix == ".json") and not request:
        return None
    size = path.stat().st_size if path.is_file() else 0
    if not 0 < size <= _MOST_BYTES:
        return None
    name = path.name[: -len(_REQUEST)] if request else path.stem
    return ExampleFile(
        path.name, name.replace("-", " "), str(path), size, MEDIA_TYPES[suffix], request
    )
