"""What is kept of models between starts has a bound, and saving does not take long for it."""

import os
from pathlib import Path

import pytest

from inference_service.runtime import findings, verdicts
from inference_service.runtime.findings import FindingsCache
from inference_service.runtime.verdicts import VerdictCache


def made(cache: FindingsCache, key: str, size: int, used: float) -> None:
    with cache.making(key) as folder:
        (folder / "findings.json").write_bytes(b"x" * size)
        os.utime(folder / "findings.json", (used, used))


def keys(cache: FindingsCache) -> set[str]:
    assert cache.folder is not None
    return set(os.listdir(cache.folder))


def test_the_longest_unused_findings_are_removed_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MOST", 3)
    cache = FindingsCache(tmp_path)
    for number, used in enumerate([30, 10, 20, 40, 50]):
        made(cache, str(number), 1, used)
    assert keys(cache) == {"0", "3", "4"}


def test_the_longest_unused_findings_are_removed_where_they_take_too_much_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MOST_BYTES", 100)
    cache = FindingsCache(tmp_path)
    for number, used in enumerate([30, 10, 40]):
        made(cache, str(number), 40, used)
    assert keys(cache) == {"0", "2"}


def test_of_very_many_findings_some_are_removed_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FindingsCache(tmp_path)
    for number in range(9):
        made(cache, str(number), 1, number)
    monkeypatch.setattr(findings, "_MOST", 3)
    monkeypatch.setattr(findings, "_MOST_REMOVED", 4)
    made(cache, "9", 1, 9)
    assert keys(cache) == {"4", "5", "6", "7", "8", "9"}


def test_findings_that_another_process_removes_meanwhile_are_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MOST", 2)
    cache = FindingsCache(tmp_path)
    for number in range(3):
        made(cache, str(number), 1, number)
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["0", *listed(path)])
    made(cache, "3", 1, 3)
    assert set(listed(tmp_path / "findings")) == {"2", "3"}


def test_the_longest_unused_verdicts_are_removed_several_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_MOST", 8)
    monkeypatch.setattr(verdicts, "_MOST_REMOVED", 3)
    cache = VerdictCache(tmp_path)
    for number in range(8):
        cache.write(str(number), {"texts": {}})
        os.utime(tmp_path / f"{number}.verdict.json", (number, number))
    assert cache.read("0") == {"texts": {}}, "it is used"
    cache.write("8", {"texts": {}})
    kept = {name.removesuffix(".verdict.json") for name in os.listdir(tmp_path)}
    assert kept == {"0", "8", "4", "5", "6", "7"}
