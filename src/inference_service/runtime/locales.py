"""StringNormalizer wants a locale of the operating system, which small images don't have.

onnxruntime builds ``std::locale(name)`` when the session is made, with the node's attribute
``locale`` or "en_US.UTF-8", and uses it for ``tolower`` and ``toupper`` of wide characters and for
nothing else (onnxruntime/core/providers/cpu/text/string_normalizer.cc). glibc has one table of
cases, ``i18n_ctype``, which C.UTF-8 and nearly all languages copy; only the Turkic ones change it
(the dotless i). So for the languages below, C.UTF-8, which comes with glibc itself (2.35; Debian:
always), gives the same characters: tests/runtime/test_locales.py compares every code point.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

OF_EVERY_LANGUAGE = "C.UTF-8"

SAME_CASES = frozenset(
    {"cs", "da", "de", "el", "en", "es", "fi", "fr", "hu", "it", "ja", "ko", "nb", "nl", "pl", "pt",
     "ro", "ru", "sv", "uk", "zh"}
)  # fmt: skip
"""Languages whose characters change their case as in C.UTF-8."""

_MISSING = re.compile(r"Failed to construct locale with name:\s*([\w.@-]*)")
_LARGEST = 512 * 2**20  # bytes of a file that is read and changed in memory


def missing_locale(message: str) -> str | None:
    """The locale that onnxruntime's message says isn't there."""
    found = _MISSING.search(message)
    return found[1] if found else None


def with_common_locale(source: Path | bytes, name: str) -> bytes | None:
    """The model with C.UTF-8 in place of the locale; None where that is not known to be equal.

    External data is not read. Raises what reading a broken file raises.
    """
    language = re.split(r"[_.@]", name)[0]
    if "@" in name or language not in SAME_CASES:
        return None
    if isinstance(source, Path):
        if source.stat().st_size > _LARGEST:
            return None
        source = source.read_bytes()
    import onnx  # slow to import, and rarely needed

    model = onnx.load_from_string(source)
    for function in model.functions:
        _change(function.node, name)
    _change(model.graph.node, name)
    changed: bytes = model.SerializeToString()
    return changed


def how_to_install(name: str) -> str:
    """The text for the operator."""
    stem, _, charset = name.partition(".")
    made = f"{stem}.{charset or 'UTF-8'}"
    return (
        f"its StringNormalizer needs the locale '{name}', which is not installed here; on Debian "
        f"and Ubuntu: apt-get install locales && localedef -i {stem} -f {charset or 'UTF-8'} {made}"
    )


def _change(nodes: "Iterable[onnx.NodeProto]", name: str) -> None:
    for node in nodes:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                _change(body.node, name)
        if node.op_type != "StringNormalizer" or node.domain not in {"", "ai.onnx"}:
            continue
        own = [one for one in node.attribute if one.name == "locale"]
        if own and own[0].s.decode() != name:
            continue  # another one, which is there, or is asked for next
        for one in own:
            node.attribute.remove(one)
        locale = node.attribute.add(name="locale", s=OF_EVERY_LANGUAGE.encode())
        locale.type = locale.STRING
