"""How a folder of sentence-transformers makes one vector of a text. Pure.

Source: sentence-transformers, modules.json and the modules' config.json, of 2.x to 5.x.
"""

from collections.abc import Mapping
from typing import Any

from inference_service.repository.hugging_face_says import Files, NotSaid

_SENTENCE = "sentence_embedding"  # what exporters call the output that is a text's vector
_POOLINGS = {
    "cls": "cls", "mean": "mean", "lasttoken": "last", "max": "max",
    "mean_sqrt_len_tokens": "mean_sqrt", "weightedmean": "weighted",
}  # fmt: skip
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""Before ``pooling_mode``: one flag for each."""
_ACTIVATIONS = {"Tanh": "tanh", "Identity": "identity", "ReLU": "relu"}


def vector_pipeline(read: Files, architecture: str) -> dict[str, Any] | None:
    """``[pipeline]`` of a model that makes vectors; None for another kind of model.

    Raises NotSaid for modules that are not known here.
    """
    modules = _modules(read)
    if modules is None:
        if not architecture.endswith("Model"):
            return None
        # Exported with the pooling in the graph, or not served so.
        return {"kind": "text-embedding", "pooling": "none", "output": _SENTENCE}
    found: dict[str, Any] = {"kind": "text-embedding", "pooled_output": _SENTENCE}
    dense: list[dict[str, str]] = []
    for kind, path in modules:
        if kind == "Pooling":
            found |= _pooling(read(f"{path}/config.json"), bool(dense))
        elif kind == "Dense":
            dense.append(_dense(read(f"{path}/config.json"), path))
        elif kind not in {"Transformer", "Normalize"}:
            raise NotSaid(f"modules.json has the module {kind}, which is not known here")
    if "pooling" not in found:
        raise NotSaid("modules.json has no Pooling")
    if dense:
        found["dense"] = dense
    return {**found, **_prompts(read("config_sentence_transformers.json"))}


def _modules(read: Files) -> list[tuple[str, str]] | None:
    """Class and folder of each; None where the folder is none of sentence-transformers'."""
    stated = read("modules.json")
    if stated is None:
        return [("Pooling", "1_Pooling")] if read("1_Pooling/config.json") is not None else None
    if not isinstance(stated, list) or not all(isinstance(one, Mapping) for one in stated):
        raise NotSaid("modules.json is no list of modules")
    return [(str(one.get("type")).rpartition(".")[2], str(one.get("path"))) for one in stated]


def _pooling(stated: Any, after_dense: bool) -> dict[str, Any]:
    if not isinstance(stated, Mapping) or after_dense:
        raise NotSaid("the Pooling of modules.json has no config.json, or is behind a Dense")
    modes = stated.get("pooling_mode")
    if modes is None:
        modes = [mode for flag, mode in _FLAGS.items() if stated.get(flag) is True]
    if isinstance(modes, str):
        modes = [modes]
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in _POOLINGS:
        raise NotSaid(f"the pooling is {modes}; known here is one of {', '.join(_POOLINGS)}")
    if stated.get("include_prompt") is False:
        raise NotSaid("the pooling leaves out the prompt (include_prompt), which is not done here")
    return {"pooling": _POOLINGS[modes[0]]}


def _dense(stated: Any, path: str) -> dict[str, str]:
    name = str(stated.get("activation_function")) if isinstance(stated, Mapping) else ""
    kind = name.rpartition(".")[2]
    if kind not in _ACTIVATIONS:
        raise NotSaid(f"{path} has the activation '{name}', which is not known here")
    return {"weights": f"{path}/model.safetensors", "activation": _ACTIVATIONS[kind]}


def _prompts(stated: Any) -> dict[str, Any]:
    """What is put in front of a text, by name, and which of them where a request names none."""
    if not isinstance(stated, Mapping):
        return {}
    prompts = stated.get("prompts")
    known = (
        {name: text for name, text in prompts.items() if isinstance(text, str) and text}
        if isinstance(prompts, Mapping)
        else {}
    )
    found: dict[str, Any] = {"prompts": known} if known else {}
    if stated.get("default_prompt_name") in known:
        found["default_prompt"] = stated["default_prompt_name"]
    return found
