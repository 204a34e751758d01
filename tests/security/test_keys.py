"""API keys: how they are made, kept, found and revoked."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from inference_service.cli import main
from inference_service.core.errors import Forbidden
from inference_service.security.grants import InvalidGrant, Scope, principal_of
from inference_service.security.key_file import entries_of, make_pepper, read_keys, read_pepper
from inference_service.security.keys import (
    InvalidKeys,
    KeyEntry,
    KeyRing,
    Tokens,
    create,
    keyed_hash,
)
from inference_service.security.watch import Watched

PEPPER = b"a pepper of some length"


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["keys", *map(str, arguments)])


def test_a_key_is_found_until_it_expires_and_only_under_its_pepper() -> None:
    key, entry = create("team-a", ["infer", "read"], PEPPER, 1000)
    ending = KeyEntry(entry.id, entry.name, entry.scopes, entry.hash, 1000, expires=2000)
    ring = KeyRing([ending], PEPPER)
    found = ring.find(key, 1999)
    assert found is not None
    assert (found.name, found.scopes) == ("team-a", frozenset((Scope.INFER, Scope.READ)))
    assert ring.find(key, 2000) is None
    assert KeyRing([entry], b"another pepper, as long").find(key, 1) is None
    assert KeyRing([], b"").find(key, 1) is None


ONE_KEY, ONE_ENTRY = create("a", ["infer"], PEPPER, 0)


@given(st.integers(0, 57), st.characters(codec="utf-8"))
def test_a_key_with_any_other_character_is_not_found(at: int, character: str) -> None:
    wrong = ONE_KEY[:at] + character + ONE_KEY[at + 1 :]
    assert wrong == ONE_KEY or KeyRing([ONE_ENTRY], PEPPER).find(wrong, 1) is None


def test_the_file_holds_a_keyed_hash_and_no_key() -> None:
    key, entry = create("a", ["infer"], PEPPER, 0)
    secret = key.rsplit("_", 1)[0]
    assert secret not in entry.hash
    assert entry.hash == keyed_hash(key, PEPPER)
    # RFC 4231, test case 2
    assert keyed_hash("what do ya want for nothing?", b"Jefe") == (
        "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_a_scope_for_models_permits_those_alone() -> None:
    principal = principal_of("a", ["infer:digits", "infer:team-*"])
    principal.check_model("digits")
    principal.check_model("team-7")
    with pytest.raises(Forbidden, match="'a' has no scope 'infer:other'"):
        principal.check_model("other")
    principal_of("a", ["infer:digits", "infer"]).check_model("other")


@pytest.mark.parametrize(
    "scope", ["", "Infer", "infer:", "read:digits", "root", "infer:" + "x" * 300]
)
def test_a_scope_that_does_not_exist_is_refused(scope: str) -> None:
    with pytest.raises(InvalidGrant):
        principal_of("a", [scope])


def test_tokens_of_the_settings_are_found() -> None:
    admin = principal_of("admin", ["admin"])
    tokens = Tokens([("secret", admin)])
    assert tokens.find("secret") is admin
    assert tokens.find("secre") is None


def test_a_key_is_created_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    made = command(
        "create", "team-a", "--scope", "infer:digits", "--expires", "90d", "--file", file
    )
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    pepper = read_pepper(tmp_path / "keys.toml.pepper")
    (entry,) = read_keys(file)
    assert entry.expires - entry.created == 90 * 86_400
    ring = KeyRing([entry], pepper)
    assert ring.find(key, entry.created) == principal_of("team-a", ["infer:digits"])
    assert key.rpartition("_")[2] not in file.read_text()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}

    command("create", "ops", "--scope", "admin", "--file", file)
    listed = command("list", "--file", file).stdout.splitlines()
    assert ["team-a" in listed[0], "infer:digits" in listed[0], "ops" in listed[1]] == [True] * 3
    revoked = command("revoke", "team-a", "--file", file)
    assert revoked.stdout == f"key {entry.id} of 'team-a' is revoked\n"
    assert [kept.name for kept in read_keys(file)] == ["ops"]
    assert "there is no key 'team-a'" in command("revoke", "team-a", "--file", file).output


def test_what_is_refused_leaves_no_file_behind(tmp_path: Path) -> None:
    at = ["--file", str(tmp_path / "keys.toml")]
    refused = CliRunner().invoke(main, ["keys", "create", "ann", "--scope", "all", *at])
    assert (refused.exit_code, "scope 'all': expected" in refused.output) == (1, True)
    missing = CliRunner().invoke(main, ["keys", "revoke", "ann", *at])
    assert missing.output == "Error: can't read keys.toml: No such file or directory\n"
    assert list(tmp_path.iterdir()) == []


def test_an_entry_can_be_printed_for_a_secret_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    made = command("create", "a", "--scope", "infer", "--print", "--file", file)
    assert "[[keys]]" in made.stdout
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keys = 1", r"keys.toml: keys: expected a list of tables"),
        ("[[keys]]\nid = 'x'", r"keys.toml: keys\[0\].name: Field required"),
        ("[", "keys.toml is not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(InvalidKeys, match=message):
        read_keys(tmp_path / "keys.toml")


def test_entries_that_make_no_client_are_refused(tmp_path: Path) -> None:
    _, entry = create("a", ["infer"], PEPPER, 0)
    with pytest.raises(InvalidKeys, match="is there twice"):
        KeyRing([entry, entry], PEPPER)
    with pytest.raises(InvalidKeys, match="64 hexadecimal digits"):
        KeyRing([KeyEntry(entry.id, "a", ("infer",), "md5:0")], PEPPER)
    with pytest.raises(InvalidKeys, match="the name has to be"):
        create("a\n", ["infer"], PEPPER, 0)
    (tmp_path / "pepper").write_text("short")
    with pytest.raises(InvalidKeys, match="fewer than 16 bytes"):
        make_pepper(tmp_path / "pepper")


def test_a_file_that_could_not_be_read_is_tried_again_although_it_has_not_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("")
    failures, read = [OSError("too many open files")] * 2, []

    def reload() -> None:
        if failures:
            raise failures.pop()
        read.append(file.read_text())

    watched = Watched("API keys", [file], reload)
    file.write_text("changed")
    assert [watched.look() for _ in range(4)] == [True, True, True, False]
    assert read == ["changed"]
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == [
        "API keys can't be read again, the former stay in use: too many open files"
    ]


def test_the_place_of_a_faulty_key_among_very_many_is_told() -> None:
    entry = {"id": "0" * 10, "name": "a", "scopes": [], "hash": ""}
    with pytest.raises(InvalidKeys, match=r"keys\[1234\].name: "):
        entries_of([*[entry] * 1234, {**entry, "name": 1}, entry])
    with pytest.raises(InvalidKeys, match="keys: expected a list of tables"):
        entries_of({"a": 1})
