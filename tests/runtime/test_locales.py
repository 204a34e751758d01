"""StringNormalizer without the locale that it asks for: the same characters, or words."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from inference_service.core.errors import InvalidModel
from inference_service.runtime.locales import SAME_CASES, with_common_locale
from inference_service.runtime.session import OpenModel, RuntimeOptions, open_model
from tests import onnx_models

COMPARE = """
import ctypes, sys
c = ctypes.CDLL(None)
c.newlocale.restype = ctypes.c_void_p
c.newlocale.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]
made = [c.newlocale(1, name.encode(), None) for name in ("C.UTF-8", sys.argv[1])]
assert all(made), made
for change in (c.towlower_l, c.towupper_l):
    change.argtypes, change.restype = [ctypes.c_uint, ctypes.c_void_p], ctypes.c_uint
    for point in range(0x20000):  # beyond, no character has a case
        if change(point, made[0]) != change(point, made[1]):
            print(point)
"""


def normaliser(locale: str | None, **more: Any) -> onnx.ModelProto:
    attributes: dict[str, Any] = {"case_change_action": "LOWER", **more}
    if locale is not None:
        attributes["locale"] = locale
    return onnx_models.build(
        [helper.make_node("StringNormalizer", ["x"], ["y"], "normalise", **attributes)],
        [("x", onnx_models.STRING, ["rows"])],
        [("y", onnx_models.STRING, ["rows"])],
    )


def opened(model: onnx.ModelProto, folder: Path) -> OpenModel:
    return open_model(onnx_models.save(model, folder / "model.onnx"), RuntimeOptions(1))


@pytest.mark.parametrize("locale", [None, "en_US", "en_US.UTF-8", "de_DE.UTF-8", "pt_BR"])
def test_texts_are_lowered_whether_the_locale_is_there_or_not(
    tmp_path: Path, locale: str | None
) -> None:
    model = opened(normaliser(locale), tmp_path)
    answer = model.run({"x": np.array(["ÄBC", "Žluťoučký", "ΣΩ", "ИЙ"], object)})
    assert answer["y"].tolist() == ["äbc", "žluťoučký", "σω", "ий"]


def test_so_they_are_in_the_body_of_another_node(tmp_path: Path) -> None:
    inner = normaliser("en_US").graph
    del inner.input[:]
    branch = helper.make_graph(inner.node, "branch", [], inner.output)
    model = onnx_models.build(
        [helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch)],
        [("x", onnx_models.STRING, ["rows"])],
        [("z", onnx_models.STRING, ["rows"])],
        yes=np.array(True),
    )
    assert opened(model, tmp_path).run({"x": np.array(["É"], object)})["z"].tolist() == ["é"]


def test_stop_words_are_told_without_their_case(tmp_path: Path) -> None:
    model = opened(normaliser("en_US", is_case_sensitive=0, stopwords=["ÜBER"]), tmp_path)
    assert model.run({"x": np.array(["über", "b"], object)})["y"].tolist() == ["b"]


@pytest.mark.parametrize("name", ["tr_TR.UTF-8", "az_AZ", "xx_XX", "sr_RS@latin"])
def test_a_language_with_other_cases_is_named_with_what_to_install(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidModel) as error:
        opened(normaliser(name), tmp_path)
    assert f"StringNormalizer needs the locale '{name}', which is not installed" in str(error.value)
    assert "apt-get install locales && localedef -i" in str(error.value)


def test_the_file_itself_is_not_changed(tmp_path: Path) -> None:
    path = onnx_models.save(normaliser("en_US"), tmp_path / "model.onnx")
    before = path.read_bytes()
    open_model(path, RuntimeOptions(1))
    assert path.read_bytes() == before


def test_only_the_nodes_that_ask_for_the_locale_are_changed() -> None:
    model = normaliser("en_US")
    model.graph.node.append(normaliser("tr_TR").graph.node[0])
    changed = with_common_locale(model.SerializeToString(), "en_US")
    assert changed is not None
    nodes = onnx.load_from_string(changed).graph.node
    found = [
        helper.get_attribute_value(a) for n in nodes for a in n.attribute if a.name == "locale"
    ]
    assert found == [b"C.UTF-8", b"tr_TR"]


SOURCES = Path("/usr/share/i18n/locales")


@pytest.mark.skipif(not SOURCES.is_dir(), reason="not run: glibc's sources of locales aren't here")
@pytest.mark.parametrize("language", sorted(SAME_CASES))
def test_a_languages_characters_are_those_of_all_languages(language: str) -> None:
    """No locale of it, nor what it copies, says anything of cases but the common table."""
    for path in SOURCES.glob(f"{language}_*"):
        name = path.name
        while name not in {"i18n", "i18n_ctype"}:
            text = (SOURCES / name).read_text("utf-8")
            section = re.search(r"^LC_CTYPE$(.*)^END LC_CTYPE$", text, re.MULTILINE | re.DOTALL)
            assert section is not None
            assert not re.search(r"^(toupper|tolower)\b", section[1], re.MULTILINE), name
            copied = re.findall(r'^copy\s+"([^"]+)"', section[1], re.MULTILINE)
            assert copied, name
            (name,) = copied


@pytest.mark.skipif(not shutil.which("localedef"), reason="not run: localedef isn't here")
@pytest.mark.parametrize("charset", ["UTF-8", "ISO-8859-1"])
def test_every_character_changes_its_case_as_in_english(tmp_path: Path, charset: str) -> None:
    """glibc's own tables; an encoding of eight bits is what ``en_US`` has without another word."""
    command = ["localedef", "--no-archive", "-c", "-i", "en_US", "-f", charset]
    subprocess.run(
        [*command, str(tmp_path / "en_US")], capture_output=True, check=False, timeout=60
    )
    run = subprocess.run(
        [sys.executable, "-c", COMPARE, "en_US"],
        capture_output=True, text=True, check=True, env={**os.environ, "LOCPATH": str(tmp_path)},
        timeout=60,
    )  # fmt: skip
    assert run.stdout == ""
