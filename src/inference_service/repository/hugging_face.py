"""What the files of a Hugging Face folder say about a model, as model.toml would say it. Pure.

::

    onnx/model.onnx  or  model.onnx
    config.json                       architecture, labels
    tokenizer.json, tokenizer_config.json
    preprocessor_config.json          pictures
    modules.json, 1_Pooling/config.json, sentence_bert_config.json    vectors

Where they say too little, nothing is made up: the model then takes tensors.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Files: TypeAlias = Callable[[str], Mapping[str, Any] | None]
"""The object in a file of JSON of the folder; None where there is no such file."""

CONFIG = "config.json"
_TOKENIZER = "tokenizer.json"
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling
_SENTENCE = "sentence_embedding"  # what exporters call the output that is a text's vector
_NO_LIMIT = 1_000_000  # tokenizers say 1e30 where they have none
_OFFSET = frozenset(
    {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl"}
)
"""Their position ids begin behind that of padding."""


def pipeline_of(read: Files, exists: Callable[[str], bool]) -> dict[str, Any] | None:
    """``[pipeline]`` for the folder; None where its files don't say enough."""
    config = read(CONFIG)
    if config is None:
        return None
    names = config.get("architectures")
    architecture = str(names[0]) if isinstance(names, list) and names else ""
    if architecture.endswith("ForImageClassification"):
        return _images(config, read("preprocessor_config.json"))
    found: dict[str, Any] | None = None
    if architecture.endswith("ForSequenceClassification"):
        found = _sequences(config)
    elif architecture.endswith("ForTokenClassification"):
        found = {"kind": "token-classification", "labels": labels_of(config)}
    elif pooling := _pooling(read):
        found = {"kind": "text-embedding", "pooling": pooling}
    elif architecture.endswith("Model"):  # exported with the pooling in the graph, or not served so
        found = {"kind": "text-embedding", "pooling": "none", "output": _SENTENCE}
    return {**found, **_limits(config, read)} if found and exists(_TOKENIZER) else None


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """The names of the classes in the order of their numbers; none where one is missing."""
    names = config.get("id2label")
    if not isinstance(names, dict):
        return []
    found = [names.get(str(place)) for place in range(len(names))]
    return [] if None in found else [str(name) for name in found]


def _sequences(config: Mapping[str, Any]) -> dict[str, Any]:
    labels = labels_of(config)
    count = len(labels) or config.get("num_labels")
    if config.get("problem_type") == "regression" or count == 1:
        return {"kind": "reranking", "tokenizer": _TOKENIZER}
    entails = sum(label.lower().startswith("entail") for label in labels) == 1
    kind = "zero-shot-classification" if entails else "text-classification"
    found: dict[str, Any] = {"kind": kind, "tokenizer": _TOKENIZER}
    if labels:
        found["labels"] = labels
    if config.get("problem_type") == "multi_label_classification":
        found["scores"] = "independent"
    return found


def _limits(config: Mapping[str, Any], read: Files) -> dict[str, Any]:
    """The longest text in tokens, and the id that fills up the shorter ones."""
    found: dict[str, Any] = {}
    pad = config.get("pad_token_id")
    offset = 0
    if type(pad) is int and pad >= 0:
        found["pad_id"] = pad
        offset = pad + 1 if config.get("model_type") in _OFFSET else 0
    positions = config.get("max_position_embeddings")
    stated = [
        (read("sentence_bert_config.json") or {}).get("max_seq_length"),
        (read("tokenizer_config.json") or {}).get("model_max_length"),
        positions - offset if type(positions) is int else None,
    ]
    known = [one for one in stated if type(one) is int and 0 < one < _NO_LIMIT]
    if known:
        found["max_tokens"] = min(known)
    return found


def _pooling(read: Files) -> str | None:
    """How sentence-transformers makes one vector of a text's; None for another kind of model."""
    stated = read("1_Pooling/config.json")
    if stated is None:
        return None
    for field, pooling in (
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_lasttoken", "last"),
        ("pooling_mode_mean_tokens", "mean"),
    ):
        if stated.get(field) is True:
            return pooling
    return None


def _images(config: Mapping[str, Any], stated: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Source: transformers, image_processing_utils_fast.py and those of ViT, ConvNeXt, ResNet."""
    if stated is None:
        return None
    found: dict[str, Any] = {"kind": "image-classification"}
    sizes = _sizes(stated)
    if sizes is None or stated.get("rescale_offset"):
        return None
    found |= sizes
    labels = labels_of(config)
    if labels:
        found["labels"] = labels
    if stated.get("resample") in _RESAMPLE:
        found["interpolation"] = _RESAMPLE[stated["resample"]]
    scale = stated.get("rescale_factor", 1 / 255) if stated.get("do_rescale", True) else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if stated.get("do_normalize", True):
        mean, std = _three(stated.get("image_mean")), _three(stated.get("image_std"))
    if not mean or not std or not isinstance(scale, float | int) or scale <= 0:
        return None
    # The pipeline's own scale is 1/255: v * scale is v/255 * factor.
    factor = 255 * scale
    found["mean"] = [one / factor for one in mean]
    found["std"] = [one / factor for one in std]
    return found


def _three(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 3:
        return []
    return [float(one) for one in value if isinstance(one, float | int)]


def _sizes(stated: Mapping[str, Any]) -> dict[str, Any] | None:
    """``size``, ``resize`` and ``crop``; None where they are not known."""
    size, crop = _side(stated.get("size")), _side(stated.get("crop_size"))
    if not stated.get("do_resize", True) or size is None:
        return None
    if crop is None or not stated.get("do_center_crop", True):
        shortest = isinstance(stated.get("size"), Mapping) and "shortest_edge" in stated["size"]
        share = stated.get("crop_pct")
        if isinstance(share, float) and 0 < share <= 1:  # ConvNeXt: larger first, then the middle
            return {"size": size, "resize": "crop", "crop": share}
        return {"size": size, "resize": "crop" if shortest else "stretch", "crop": 1.0}
    share = crop[0] / size[0]
    if not 0 < share <= 1:
        return None
    return {"size": crop, "resize": "crop", "crop": share}


def _side(value: Any) -> list[int] | None:
    """Height and width."""
    if isinstance(value, Mapping):
        shortest = value.get("shortest_edge")
        pair: list[Any] = (
            [shortest, shortest] if shortest else [value.get("height"), value.get("width")]
        )
    else:
        pair = list(value) if isinstance(value, list) and len(value) == 2 else [value, value]
    known = [one for one in pair if type(one) is int and one > 0]
    return known if len(known) == 2 else None
