"""PyTorch: TorchScript, torch.export programs, and functions that make a model.

All go through ``torch.export`` and the exporter that is built on it, with dynamic shapes; the older
TorchScript exporter is the way for TorchScript files alone, which hold no Python.
"""

import importlib
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from inference_service.importing.frameworks.common import Converted, Refusal, unique, versions_of

_FREE = 8
_SPEC = re.compile(r"(?:(?P<name>\w+)=)?(?P<dtype>\w+)\[(?P<shape>[^\]]*)\]")


class Torch:
    """See `Framework`."""

    def convert(self, source: str, kind: str, work: Path, options: dict[str, Any]) -> Converted:
        """``options["example_inputs"]`` tells shapes where the source has no example."""
        import torch

        torch.manual_seed(0)
        self._examples: list[Any] = _examples(options.get("example_inputs"))
        make = {"factory": self._factory, "exported": self._exported, "torchscript": self._scripted}
        names, outputs = make[kind](source, work)
        return Converted(
            "model.onnx",
            names,
            unique(outputs),
            versions=versions_of("torch", "onnxscript"),
            description=f"{self._title} (PyTorch).",
        )

    def run(self, inputs: list[Any]) -> list[Any]:
        """The module's outputs, flattened in order."""
        import torch

        with torch.inference_mode():
            outputs = self._call(*[torch.from_numpy(np.ascontiguousarray(one)) for one in inputs])
        return [one.detach().cpu().numpy() for one in _tensors(outputs)]

    def _factory(self, source: str, work: Path) -> tuple[list[str], list[str]]:
        """``module:function`` gives a module, or (module, example inputs)."""
        import torch

        sys.path.insert(0, os.getcwd())
        module_name, _, function = source.partition(":")
        made = getattr(importlib.import_module(module_name), function)()
        module, example = made if isinstance(made, tuple) else (made, None)
        if not isinstance(module, torch.nn.Module):
            raise Refusal(
                f"{source} gave a {type(module).__name__}; it should give a torch.nn.Module, or "
                "(module, example inputs)"
            )
        if example is not None:
            example = example if isinstance(example, tuple | list) else (example,)
            self._examples = list(example)
        if not self._examples:
            raise Refusal(
                f"{source} gives no example inputs: let it return (module, inputs), or give their "
                "shapes: --example-inputs 'float32[2,3,224,224]'"
            )
        module.eval()
        self._call, self._title = module, type(module).__name__
        names = _argument_names(module, len(self._examples))
        return self._export(module, names, work), self._outputs_of(module)

    def _exported(self, source: str, work: Path) -> tuple[list[str], list[str]]:
        import torch

        program = torch.export.load(source)
        if not self._examples:
            if program.example_inputs is None:
                raise Refusal("the program has no example inputs: give --example-inputs")
            self._examples = list(program.example_inputs[0])
        module = program.module()
        self._call, self._title = module, Path(source).stem
        names = [
            one.arg.name for one in program.graph_signature.input_specs
            if one.kind.name == "USER_INPUT"
        ]  # fmt: skip
        torch.onnx.export(program, (), str(work / "model.onnx"), dynamo=True, verbose=False)
        return names, self._outputs_of(module)

    def _scripted(self, source: str, work: Path) -> tuple[list[str], list[str]]:
        import torch

        try:
            module = torch.jit.load(source, map_location="cpu")
        except RuntimeError as error:
            if "constants.pkl" in str(error) or "TorchScript" in str(error) or "zip" in str(error):
                raise Refusal(
                    "it is no TorchScript file. A file of torch.save holds weights without the "
                    "model's code, or a pickle, which runs code: write a function that makes the "
                    "model and loads the weights, and import it as module:function"
                ) from None
            raise
        if not self._examples:
            raise Refusal(
                "a TorchScript file doesn't tell the shapes of its inputs: give one batch, as "
                "--example-inputs 'float32[2,3,224,224]'"
            )
        module.eval()
        self._call, self._title = module, Path(source).stem
        schema = [one.name for one in module.forward.schema.arguments[1:]]
        names = schema[: len(self._examples)]
        outputs = self._outputs_of(module)
        torch.onnx.export(
            module,
            tuple(self._examples),
            str(work / "model.onnx"),
            dynamo=False,
            input_names=names,
            output_names=unique(outputs),
            dynamic_axes={name: {0: "batch"} for name in [*names, *unique(outputs)]},
            opset_version=17,
        )
        return names, outputs

    def _export(self, module: Any, names: list[str], work: Path) -> list[str]:
        """With a free batch axis; where the model admits one size only, as it is."""
        import torch

        batch = torch.export.Dim("batch", min=1)
        shapes = tuple(
            {0: batch} if isinstance(one, torch.Tensor) and one.ndim else None
            for one in self._examples
        )
        path = str(work / "model.onnx")
        arguments = tuple(self._examples)
        try:
            torch.onnx.export(
                module, arguments, path, dynamo=True, dynamic_shapes=shapes, verbose=False
            )
        # A constraint that is violated, of several classes: the batch size stands in the code.
        except Exception as error:
            print(f"no free batch axis: {error}", file=sys.stderr)  # noqa: T201 - the log
            torch.onnx.export(module, arguments, path, dynamo=True, verbose=False)
        return names

    def _outputs_of(self, module: Any) -> list[str]:
        import torch

        with torch.inference_mode():
            found = module(*self._examples)
        if isinstance(found, dict):
            return [str(name) for name in found]
        fields = getattr(found, "_fields", None)
        if fields is not None:
            return [str(name) for name in fields]
        return ["output"] * len(_tensors(found))


def load() -> Torch:
    """See `Framework`."""
    import onnxscript  # noqa: F401 - told here, where it is missing
    import torch  # noqa: F401

    return Torch()


def _argument_names(module: Any, count: int) -> list[str]:
    names = list(inspect.signature(module.forward).parameters)
    return names[:count] if len(names) >= count else [f"input_{index}" for index in range(count)]


def _tensors(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        return [one for value in outputs.values() for one in _tensors(value)]
    if isinstance(outputs, list | tuple):
        return [one for value in outputs for one in _tensors(value)]
    return [outputs]


def _examples(text: str | None) -> list[Any]:
    """Random tensors of the shapes that ``name=float32[2,3];ids=int64[2,16]`` tells."""
    import torch

    if not text:
        return []
    found = []
    for part in re.split(r"\s*;\s*", text.strip()):
        matched = _SPEC.fullmatch(part)
        dtype = getattr(torch, matched["dtype"], None) if matched else None
        if matched is None or not isinstance(dtype, torch.dtype):
            raise Refusal(
                f"--example-inputs: '{part}' is not like float32[2,3,224,224] or ids=int64[2,16]"
            )
        try:
            shape = [int(one) for one in matched["shape"].split(",") if one.strip()]
        except ValueError:
            raise Refusal(f"--example-inputs: '{part}': lengths are whole numbers") from None
        if dtype.is_floating_point:
            found.append(torch.randn(shape, dtype=dtype))
        else:
            found.append(torch.randint(0, 2, shape).to(dtype))
    return found
