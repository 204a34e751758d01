"""What the files of a Hugging Face folder say about a model, as model.toml would say it. Pure.

::

    onnx/model.onnx  or  model.onnx
    config.json                       architecture, labels
    tokenizer.json, tokenizer_config.json
    preprocessor_config.json          pictures
    modules.json, 1_Pooling/config.json, sentence_bert_config.json    vectors

Where they say too little, nothing is made up: the model then takes tensors, and `NotSaid` why.

Source: transformers, pipelines/ and configuration_utils.py.
"""

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from inference_service.repository.hugging_face_images import image_pipeline
from inference_service.repository.hugging_face_says import Files, NotSaid
from inference_service.repository.hugging_face_sound import sound_pipeline, takes_sound
from inference_service.repository.hugging_face_vectors import vector_pipeline

CONFIG = "config.json"
_TOKENIZER = "tokenizer.json"
_NO_LIMIT = 1_000_000  # tokenizers say 1e30 where they have none
_OFFSET = frozenset(
    {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl"}
)
"""Their position ids begin behind that of padding."""
_LOWERING = ("Bert", "DistilBert", "Electra", "MPNet", "MobileBert", "ConvBert", "SqueezeBert")
"""Their tokenizers do what tokenizer_config.json says, whatever tokenizer.json does."""
_GENERATES = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ForSpeechSeq2Seq")
_OF_TEXTS = ("ForSequenceClassification", "ForTokenClassification")
_TWO_KINDS = frozenset({"text_config", "vision_config"})
_SCORES = {"sigmoid": "independent", "softmax": "logits", "none": "raw"}
_LABELS_UNSAID = 2  # what transformers takes where config.json has no id2label


def pipeline_of(read: Files, exists: Callable[[str], bool]) -> dict[str, Any] | None:
    """``[pipeline]`` for the folder; None where it is none of Hugging Face's.

    Raises NotSaid where its files don't say enough.
    """
    config = read(CONFIG)
    if not isinstance(config, Mapping):
        return None
    architecture = architecture_of(config)
    if why := generates(config):
        raise NotSaid(why)
    if architecture.endswith("ForImageClassification"):
        found = image_pipeline(read("preprocessor_config.json"))
        return {**found, **_classes(config)}
    if takes_sound(read):
        return sound_pipeline(read, architecture, _classes(config))
    if config.keys() >= _TWO_KINDS:
        raise NotSaid(f"{architecture} takes texts and pictures at once, which no task here does")
    if not exists(_TOKENIZER) and _reads_texts(architecture, read):
        raise NotSaid(
            f"there is no {_TOKENIZER} beside config.json; transformers makes it of other files: "
            '`AutoTokenizer.from_pretrained(".").save_pretrained(".")`'
        )
    said = _texts(config, architecture, read) if exists(_TOKENIZER) else None
    if said is None and architecture:
        raise NotSaid(
            f"no task here does what {architecture} is for; a pipeline.py beside the model can"
        )
    return {**said, **_limits(config, read)} if said else None


def _reads_texts(architecture: str, read: Files) -> bool:
    if architecture.endswith(_OF_TEXTS) or read("modules.json") is not None:
        return True
    return architecture.endswith("Model") and read("preprocessor_config.json") is None


def architecture_of(config: Mapping[str, Any]) -> str:
    """The first of ``architectures``; "" where there is none."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def generates(config: Any) -> str:
    """What to say of a model that writes its answer token by token; "" for another."""
    architecture = architecture_of(config) if isinstance(config, Mapping) else ""
    if not architecture.endswith(_GENERATES):
        return ""
    return (
        f"{architecture} writes its answer token by token, which this service does not do: take "
        "a server for that (vLLM, text-generation-inference, onnxruntime-genai)"
    )


def within(name: str) -> bool:
    """Whether a path that a file of the folder names stays in the folder."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """The names of the classes in the order of their numbers; none where one is missing."""
    names = config.get("id2label")
    if not isinstance(names, dict):
        return []
    found = [names.get(str(place)) for place in range(len(names))]
    return [] if None in found else [str(name) for name in found]


def _texts(config: Mapping[str, Any], architecture: str, read: Files) -> dict[str, Any] | None:
    if architecture.endswith("ForSequenceClassification"):
        return _sequences(config)
    if architecture.endswith("ForTokenClassification"):
        return {"kind": "token-classification", "labels": _named(config)}
    return vector_pipeline(read, architecture)


def _named(config: Mapping[str, Any]) -> list[str]:
    """The names that transformers gives the classes, too, where the folder gives none."""
    if "id2label" in config:
        return labels_of(config)
    count = config.get("num_labels", _LABELS_UNSAID)
    return [f"LABEL_{place}" for place in range(count)] if type(count) is int else []


def _classes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Labels, and what makes their scores of the model's numbers."""
    labels = _named(config)
    found: dict[str, Any] = {"labels": labels} if labels else {}
    problem, stated = config.get("problem_type"), config.get("function_to_apply")
    if stated in _SCORES:
        scores = _SCORES[stated]
    elif problem == "regression":
        scores = "raw"
    elif problem == "multi_label_classification" or len(labels) == 1:
        scores = "independent"
    else:
        scores = "logits"
    return found if scores == "logits" else {**found, "scores": scores}


def _sequences(config: Mapping[str, Any]) -> dict[str, Any]:
    classes = _classes(config)
    labels = classes.get("labels", [])
    entails = sum(label.lower().startswith("entail") for label in labels) == 1
    kind = "text-classification"
    if len(labels) == 1:
        kind = "reranking"
    elif entails:
        kind = "zero-shot-classification"
    return {"kind": kind, "tokenizer": _TOKENIZER, **classes}


def _limits(config: Mapping[str, Any], read: Files) -> dict[str, Any]:
    """The longest text in tokens, where it is cut, and the id that fills up the shorter ones."""
    found: dict[str, Any] = {}
    pad = config.get("pad_token_id")
    offset = 0
    if type(pad) is int and pad >= 0:
        found["pad_id"] = pad
        offset = pad + 1 if config.get("model_type") in _OFFSET else 0
    tokenizer = _object(read("tokenizer_config.json"))
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    sentences = _object(read("sentence_bert_config.json"))
    stated = [
        # sentence-transformers tells the tokenizer.
        sentences.get("max_seq_length") or tokenizer.get("model_max_length"),
        positions - offset if type(positions) is int else None,
    ]
    known = [one for one in stated if type(one) is int and 0 < one < _NO_LIMIT]
    if known:
        found["max_tokens"] = min(known)
    if tokenizer.get("truncation_side") == "left":
        found["truncation_side"] = "left"
    lower = tokenizer.get("do_lower_case")
    if type(lower) is bool and str(tokenizer.get("tokenizer_class")).startswith(_LOWERING):
        found["lower"] = lower
    if sentences.get("do_lower_case") is True:
        found["lower"] = True
    return found


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
