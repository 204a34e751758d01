"""What a folder of wav2vec 2.0 and its kin says: classes of sounds, letters of speech. Pure.

Source: transformers, models/wav2vec2/.
"""

from collections.abc import Mapping
from typing import Any

from inference_service.repository.hugging_face_says import Files, NotSaid

_EXTRACTOR = "Wav2Vec2FeatureExtractor"
_VOCABULARY = "vocab.json"


def takes_sound(read: Files) -> bool:
    """Whether the folder's preprocessor makes something of recordings."""
    stated = read("preprocessor_config.json")
    if not isinstance(stated, Mapping):
        return False
    return "sampling_rate" in stated


def sound_pipeline(read: Files, architecture: str, classes: Mapping[str, Any]) -> dict[str, Any]:
    """``[pipeline]`` for it. Raises NotSaid."""
    stated = read("preprocessor_config.json")
    kind = stated.get("feature_extractor_type")
    if kind != _EXTRACTOR:
        raise NotSaid(f"preprocessor_config.json names {kind}, which is not known here")
    wave = {
        "rate": stated.get("sampling_rate", 16_000),
        "normalise": stated.get("do_normalize", True),
    }
    if architecture.endswith("ForSequenceClassification"):
        return {"kind": "audio-classification", **wave, **classes}
    if architecture.endswith("ForCTC"):
        return {"kind": "ctc-transcription", **wave, **_letters(read)}
    raise NotSaid(f"no task here does what {architecture} is for")


def _letters(read: Files) -> dict[str, Any]:
    vocabulary = read(_VOCABULARY)
    if not isinstance(vocabulary, Mapping):
        raise NotSaid(f"there is no {_VOCABULARY} that tells the letters")
    if not all(type(one) is int for one in vocabulary.values()):
        raise NotSaid(f"{_VOCABULARY} has letters of several languages: keep those of one")
    said = read("tokenizer_config.json")
    said = said if isinstance(said, Mapping) else {}
    return {
        "vocabulary": _VOCABULARY,
        "blank": _token(said.get("pad_token"), "<pad>"),
        "delimiter": _token(said.get("word_delimiter_token"), "|"),
        **({"lower": True} if said.get("do_lower_case") is True else {}),
    }


def _token(stated: Any, usual: str) -> str:
    if isinstance(stated, Mapping):
        stated = stated.get("content")
    return stated if isinstance(stated, str) else usual
