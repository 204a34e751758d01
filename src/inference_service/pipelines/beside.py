"""A model's own code: ``pipeline.py`` beside it, where the repository is trusted.

It is run as whatever the service runs as, so nothing here is done unless the operator has said so
in the settings and the model's owner in model.toml (``kind = "pipeline.py"``): a folder that was
downloaded may hold a file of that name.
"""

import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from inference_service.core.errors import InvalidModel

FILE = "pipeline.py"
_LARGEST = 2**20  # bytes
_NAMES = ("load", "Pipeline")


def factory(path: Path) -> Callable[..., Any]:
    """The ``load`` or the ``Pipeline`` of the file, which is run. Raises InvalidModel.

    A file that has changed is another module: models that are being served keep the old one.
    """
    try:
        with path.open("rb") as file:
            source = file.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidModel(f"{path.name} can't be read: {error.strerror}") from None
    if len(source) > _LARGEST:
        raise InvalidModel(f"{path.name} is larger than {_LARGEST} bytes")
    digest = sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()[:16]
    name = f"_inference_service_pipeline_{digest}"
    module = sys.modules.get(name) or _run(name, path, source)
    for wanted in _NAMES:
        found = getattr(module, wanted, None)
        if callable(found):
            return _told(found, path)
    raise InvalidModel(f"{path.name} has neither a function 'load' nor a class 'Pipeline'")


def _run(name: str, path: Path, source: bytes) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 # see above
    # It is code from outside: whatever it raises is this model's problem.
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise InvalidModel(_words(error, path)) from error
    return module


def _told(made: Callable[..., Any], path: Path) -> Callable[..., Any]:
    def make(*arguments: Any) -> Any:
        try:
            return made(*arguments)
        except InvalidModel:
            raise
        except Exception as error:
            raise InvalidModel(_words(error, path)) from error

    return make


def _words(error: BaseException, path: Path) -> str:
    """The error with its line in the file."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    place = path.name if line is None else f"{path.name}, line {line}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{place}: {type(error).__name__}: {text}"
