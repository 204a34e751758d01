"""Asks with LiteLLM: ask_litellm.py URL RECORDING."""

import json
import sys
from typing import Any

import litellm  # type: ignore[import-not-found]

url, recording = sys.argv[1:]
WHERE: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": "none"}


def tell(name: str, value: Any) -> None:
    print(name, json.dumps(value))  # noqa: T201


def length(texts: Any, **more: Any) -> int:
    answer = litellm.embedding("openai/text-embedding-3-small", texts, **WHERE, **more)
    return len(answer.data[0]["embedding"])


tell("usual", length(["a cat", "a dog"]))
tell("short", length(["a cat"], dimensions=3))
tell("user", length(["a cat"], user="user-1234", encoding_format="float"))
tell("tokens", length([[2, 6, 3]]))
with open(recording, "rb") as sound:
    tell("said", litellm.transcription("openai/gpt-4o-transcribe", sound, **WHERE).text)
