"""Hugging Face folders with weights (safetensors): loaded from the folder alone, and exported."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np

from inference_service.importing.frameworks.common import (
    Converted,
    Refusal,
    unique,
    versions_of,
    write_arrays,
)

_LENGTH = 8
_ROWS = 4
_HEADS = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForImageClassification": "AutoModelForImageClassification",
}

_COUNTS_PLACES = frozenset({"albert", "bert", "distilbert", "electra"})
"""Kinds of model whose tokens have the places 0, 1, 2, … whatever they are."""


class HuggingFace:
    """See `Framework`."""

    def convert(self, source: str, kind: str, work: Path, options: dict[str, Any]) -> Converted:
        """Code of the folder is never run, nor are weights that are pickles read."""
        import torch
        import transformers

        config = json.loads((Path(source) / "config.json").read_text())
        architecture = str((config.get("architectures") or [""])[0])
        head = next((auto for end, auto in _HEADS.items() if architecture.endswith(end)), "")
        if not head and not architecture.endswith("Model"):
            raise Refusal(
                f"{architecture or 'this model'} is not among those that can be imported: "
                f"encoders ({', '.join(['…Model', *_HEADS])})"
            )
        auto = getattr(transformers, head or "AutoModel")
        model = auto.from_pretrained(
            source,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",
            dtype=torch.float32,
        )
        model.eval()
        images = architecture.endswith("ForImageClassification")
        arrays = _picture(config) if images else _tokens(config)
        names = list(arrays)
        output = "logits" if head else "last_hidden_state"
        self._names = names
        axes = {0: "batch"} if images else {0: "batch", 1: "tokens"}
        self._model, self._output = model, output
        given = tuple(torch.from_numpy(one) for one in arrays.values())
        dims = {place: torch.export.Dim(name, min=1) for place, name in axes.items()}
        path = work / "model.onnx"
        torch.onnx.export(
            _wrapped(model, names, output),
            given,
            str(path),
            dynamo=True,
            dynamic_shapes=(tuple(dims for _ in names),),
            verbose=False,
        )
        write_arrays(str(work / "samples.npz"), list(arrays.values()))
        return Converted(
            path.name,
            names,
            unique([output]),
            versions=versions_of("torch", "onnxscript", "transformers", "safetensors"),
            samples="samples.npz",
            description=f"{architecture} (Hugging Face).",
        )

    def run(self, inputs: list[Any]) -> list[Any]:
        """The head's logits, or the last hidden state."""
        import torch

        given = dict(zip(self._names, map(torch.from_numpy, inputs), strict=True))
        with torch.inference_mode():
            return [self._model(**given)[self._output].numpy()]


def load() -> HuggingFace:
    """See `Framework`."""
    import onnxscript  # noqa: F401 - told here, where it is missing
    import safetensors  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    return HuggingFace()


def _wrapped(model: Any, names: list[str], output: str) -> Any:
    import torch

    places = model.config.model_type in _COUNTS_PLACES and (
        "position_ids" in inspect.signature(model.forward).parameters
    )

    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        """Takes tensors by place, and gives one.

        A mask of two axes would be turned into one of four by looking rows up by their numbers, of
        which the analysis can't tell that a row's own is found. One of four axes is taken as it is.
        Places are counted here, as the model does, which would cut them from a table of a limited
        length. The original, with which the answers are compared, gets the mask of two and no
        places.
        """

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            given = dict(zip(names, tensors, strict=True))
            if "attention_mask" in given:
                mask = given["attention_mask"][:, None, None, :].to(torch.float32)
                given["attention_mask"] = (1.0 - mask) * torch.finfo(torch.float32).min
            if places:
                given["position_ids"] = torch.arange(tensors[0].shape[1])[None]
            return self.model(**given)[output]

    return Wrapped().eval()


def _tokens(config: dict[str, Any]) -> dict[str, Any]:
    """Rows of unlike length, padded, so that the mask is tried too."""
    random = np.random.default_rng(0)
    words = int(config.get("vocab_size", 1000))
    ids = random.integers(5 if words > 10 else 0, words, (_ROWS, _LENGTH)).astype(np.int64)
    mask = np.ones_like(ids)
    for row in range(_ROWS):
        mask[row, _LENGTH - row :] = 0
    ids[mask == 0] = int(config.get("pad_token_id") or 0)
    found = {"input_ids": ids, "attention_mask": mask}
    if int(config.get("type_vocab_size") or 0) > 1:
        found["token_type_ids"] = np.zeros_like(ids)
    return found


def _picture(config: dict[str, Any]) -> dict[str, Any]:
    size = config.get("image_size", 224)
    height, width = size if isinstance(size, list) else (size, size)
    channels = int(config.get("num_channels", 3))
    random = np.random.default_rng(0)
    shape = (_ROWS, channels, int(height), int(width))
    return {"pixel_values": random.standard_normal(shape).astype(np.float32)}
