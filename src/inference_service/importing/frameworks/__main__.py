"""The loop of the helper process: see the package's docstring."""

import json
import os
import sys
import traceback
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from inference_service.importing.frameworks.common import (
    Framework,
    Refusal,
    read_arrays,
    write_arrays,
)

_MODULES = {
    "keras": "keras_models",
    "torch": "torch_models",
    "sklearn": "sklearn_models",
    "boosting": "boosting",
    "huggingface": "huggingface",
}


class _Helper:
    """Holds the loaded source between commands."""

    def __init__(self) -> None:
        self._framework: Framework | None = None

    def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """One command."""
        if command["do"] == "convert":
            name = _MODULES[command["framework"]]
            module = import_module(f"inference_service.importing.frameworks.{name}")
            self._framework = module.load()
            work, options = Path(command["work"]), command["options"]
            found = self._framework.convert(command["source"], command["format"], work, options)
            return asdict(found)
        if self._framework is None:
            raise Refusal("nothing is converted yet")
        outputs = self._framework.run(read_arrays(command["inputs"]))
        write_arrays(command["outputs"], outputs)
        return {}


def main(descriptor: int) -> None:
    """Answer commands until the input ends."""
    helper = _Helper()
    with os.fdopen(descriptor, "w") as replies:
        for line in sys.stdin:
            try:
                reply = helper.do(json.loads(line))
            except Refusal as error:
                reply = {"error": str(error), "missing": ""}
            except ImportError as error:
                traceback.print_exc()
                reply = {"error": str(error), "missing": (error.name or "").partition(".")[0]}
            # Whatever a framework raises is told in its own words.
            except Exception as error:
                traceback.print_exc()
                reply = {"error": f"{type(error).__name__}: {error}", "missing": ""}
            replies.write(json.dumps(reply) + "\n")
            replies.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
