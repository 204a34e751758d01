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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = 70000", "setting 'port': Input should be less than or equal to 65535"),
        ("[batching]\nsize = 1", "setting 'batching.size': Extra inputs are not permitted"),
        ("port", "is not valid TOML"),
        ("limits.request_timeout = inf", "setting 'limits.request_timeout': Input should be a fin"),
        (
            "health.ready_when = 'some'",
            "setting 'health.ready_when': Input should be 'any' or 'all'",
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


def test_a_missing_file_is_told() -> None:
    with pytest.raises(InvalidSettings, match=r"can't read nowhere\.toml: No such file"):
        load_settings(Path("nowhere.toml"))
