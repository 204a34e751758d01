"""Where settings come from, and what is said of wrong ones."""

from pathlib import Path

import pytest

from inference_service.settings import InvalidSettings, load_settings


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "service.toml"
    config.write_text(
        'port = 1\nhost = "file"\nlog_level = "error"\n'
        "[batching]\nmax_batch_size = 1\nmax_queue_rows = 11\n"
    )
    monkeypatch.setenv("INFERENCE_SERVICE_PORT", "2")
    monkeypatch.setenv("INFERENCE_SERVICE_HOST", "environment")
    monkeypatch.setenv("INFERENCE_SERVICE_BATCHING__MAX_BATCH_SIZE", "2")
    settings = load_settings(config, port=3, host=None)
    assert (settings.port, settings.host, settings.log_level) == (3, "environment", "error")
    assert settings.batching.max_batch_size == 2
    assert settings.batching.max_queue_rows == 11


def test_an_empty_variable_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP__GUIDE", "RUNTIME__PROFILE_CACHE", "REPOSITORY__STORE_CACHE"):
        monkeypatch.setenv(f"INFERENCE_SERVICE_{name}", "")
    settings = load_settings(None)
    assert settings.http.guide is None
    assert settings.runtime.profile_cache is None
    assert settings.repository.store_cache is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = 70000", "setting 'port': expected a number of at most 65535"),
        ("[batching]\nsize = 1", "setting 'batching.size': there is no such key; there are "),
        ("port", "is not valid TOML"),
        (
            "limits.request_timeout = inf",
            "setting 'limits.request_timeout': expected a finite number",
        ),
        (
            "health.ready_when = 'some'",
            "setting 'health.ready_when': expected 'any' or 'all'",
        ),
        (f"a = {'[' * 3000}", "is not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "service.toml"
    config.write_text(text)
    with pytest.raises(InvalidSettings) as error:
        load_settings(config)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("prot = 1", "port"),
        ("[bathcing]", "batching"),
        ("[batching]\nmax_bach_size = 1", "max_batch_size"),
    ],
)
def test_a_setting_that_does_not_exist_is_told_with_the_nearest(
    tmp_path: Path, text: str, near: str
) -> None:
    config = tmp_path / "service.toml"
    config.write_text(text)
    with pytest.raises(InvalidSettings, match=f"there is no such key; did you mean '{near}'"):
        load_settings(config)


def test_a_variable_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFERENCE_SERVICE_SERVICE_HOST", "INFERENCE_SERVICE_PORT_8000_TCP_ADDR"):
        monkeypatch.setenv(name, "Kubernetes")
    for name in ("INFERENCE_SERVICE_URL", "INFERENCE_SERVICE_TOKEN"):
        monkeypatch.setenv(name, "of other commands")
    assert load_settings().port == 8000
    monkeypatch.setenv("INFERENCE_SERVICE_PROT", "1")
    message = (
        "INFERENCE_SERVICE_PROT: there is no such setting; did you mean 'INFERENCE_SERVICE_PORT'"
    )
    with pytest.raises(InvalidSettings, match=message):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HTTP__CORS_ORIGINS", "http://a.example, http://b.example",
         'expected JSON, such as ["http://a.example", "http://b.example"], got \'http://a.example,'),
        ("HTTP__CORS_ORIGINS", "['http://a.example']", "expected JSON, got '['http://a.example']'"),
        ("BATCHING", "a=64", "expected JSON, an object of the keys in it, got 'a=64'"),
    ],
)  # fmt: skip
def test_a_variable_of_several_values_that_is_not_json_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"INFERENCE_SERVICE_{name}", value)
    with pytest.raises(InvalidSettings) as error:
        load_settings()
    assert f"INFERENCE_SERVICE_{name}: {message}" in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "::1", "fe80::1%eth0", "", "db", "a.example"])
def test_a_host_is_an_address_or_a_name(host: str) -> None:
    assert load_settings(host=host).host == host


@pytest.mark.parametrize(
    "host", ["300.1.2.3", "http://localhost", "localhost:8000", "127.0.0.1:8000", "1:2"]
)
def test_what_can_be_no_host_is_told_before_anything_else_is_said_of_it(host: str) -> None:
    with pytest.raises(InvalidSettings, match=f"setting 'host': '{host}' is .*the port is apart"):
        load_settings(host=host)


@pytest.mark.parametrize(
    "origin", ["localhost:3000", "app.example", "http://a.example/", "http://a.example/page"]
)
def test_what_no_browser_sends_as_an_origin_is_told(
    monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv("INFERENCE_SERVICE_HTTP__CORS_ORIGINS", f'["*", "{origin}"]')
    with pytest.raises(InvalidSettings, match=f"cors_origins.*expected an origin.*'{origin}'"):
        load_settings()


def test_a_missing_file_is_told() -> None:
    with pytest.raises(InvalidSettings, match=r"can't read nowhere\.toml: No such file"):
        load_settings(Path("nowhere.toml"))


@pytest.mark.parametrize(
    ("cache", "fits"),
    [("models", False), ("models/cache", False), ("models/.cache", True), (".", True), ("c", True)],
)
def test_the_cache_is_no_part_of_the_model_repository(
    tmp_path: Path, cache: str, *, fits: bool
) -> None:
    """The optimised graphs that it keeps would be served as models."""
    given = {"models": tmp_path / "models", "runtime": {"profile_cache": tmp_path / cache}}
    if fits:
        load_settings(None, **given)
        return
    with pytest.raises(InvalidSettings, match=r"profile_cache: .* lies in the model repository"):
        load_settings(None, **given)
