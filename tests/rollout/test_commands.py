"""The commands list, load, unload, promote and rollback against a running server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from inference_service.cli import main
from inference_service.cli.repository import table
from tests import onnx_models
from tests.conftest import RunningServer


def test_the_table_has_columns() -> None:
    entries: list[dict[str, Any]] = [
        {"name": "digits", "version": "1", "state": "READY", "reason": "", "traffic": 0.95},
        {"name": "digits", "version": "12", "state": "READY", "reason": "", "traffic": 0.05},
        {"name": "m", "version": "2", "state": "UNAVAILABLE", "reason": "torn"},
        {"name": "other"},
    ]
    assert table(entries).replace("\x1b[32m", "").replace("\x1b[31m", "").replace(
        "\x1b[0m", ""
    ).split("\n") == [
        "MODEL   VERSION  STATE        TRAFFIC  REASON",
        "digits  1        READY        95 %",
        "digits  12       READY        5 %",
        "m       2        UNAVAILABLE           torn",
        "other   -        not loaded",
    ]


def test_a_version_is_promoted_and_rolled_back(
    tmp_path: Path, serve: Callable[..., RunningServer]
) -> None:
    for version in (1, 2):
        path = tmp_path / "m" / str(version) / "model.onnx"
        onnx_models.save(onnx_models.multiplier(version), path)
    server = serve(
        tmp_path,
        INFERENCE_SERVICE_ADMIN__REPOSITORY="true",
        INFERENCE_SERVICE_ADMIN__TOKEN="secret",
    )

    def run(*arguments: str, token: str = "secret") -> Result:  # noqa: S107
        options = ["--server", server.url, "--token", token]
        return CliRunner().invoke(main, [*arguments, *options])

    assert "m      2        READY  all" in run("list").output
    assert run("promote", "m", "1").output == "version 1 of m answers\n"
    assert "m      1        READY      all" in run("list").output
    assert run("rollback", "m").output == "version 2 answers again\n"
    refused = run("load", "m", token="wrong")
    assert (refused.exit_code, "the admin's token" in refused.output) == (1, True)
    missing = run("promote", "m", "9")
    assert missing.output == "Error: there is no version 9 of 'm'; there are: 1, 2\n"
    assert "'x' is not a valid integer.\n" in run("promote", "m", "x").output
    assert run("unload", "m").output == "m is unloaded\n"
    assert "m      1        UNAVAILABLE" in run("list").output
    assert run("load", "m").output.endswith("m is loaded\n")
    without = CliRunner().invoke(main, ["unload", "m", "--server", server.url])
    assert without.output.endswith("; give it by --token or $INFERENCE_SERVICE_TOKEN\n")
    bare = CliRunner().invoke(main, ["list", "--server", server.url.removeprefix("http://")])
    assert "m      2        READY" in bare.output, "the scheme may be left out"
    unreachable = CliRunner().invoke(main, ["list", "--server", "http://127.0.0.1:1"])
    assert unreachable.output.startswith("Error: no service listens at http://127.0.0.1:1: ")
