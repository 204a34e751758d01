"""What the command tells while it starts."""

import sys
from types import SimpleNamespace

import pytest

import inference_service.cli  # noqa: F401
from inference_service.core.errors import InvalidModel
from inference_service.core.lifecycle import State
from inference_service.engine.interfaces import ModelStatus
from inference_service.engine.versions import VersionSource
from inference_service.progress import Loaded, watched

serve = sys.modules["inference_service.cli.serve"]  # the package has the command of this name


def test_each_model_is_told_when_it_is_loaded_or_has_failed() -> None:
    told: list[Loaded] = []
    warmed: list[str] = []

    def works(warming: object) -> object:
        assert callable(warming)
        warming()
        return "found"

    def fails(_: object) -> object:
        raise InvalidModel("no")

    sources = [VersionSource("a", 1, works), VersionSource("b", 2, fails)]  # type: ignore[arg-type]
    first, second = watched(sources, told.append)
    assert first.load(lambda: warmed.append("a")) == "found"  # type: ignore[comparison-overlap]
    with pytest.raises(InvalidModel, match="no"):
        second.load(lambda: None)
    assert warmed == ["a"]
    assert [(one.name, one.number, one.total, one.failed) for one in told] == [
        ("a", 1, 2, False),
        ("b", 2, 2, True),
    ]
    assert all(one.seconds >= 0 for one in told)
    first.load(lambda: None)
    assert len(told) == 2, "it was unloaded to make room, and is loaded again"


def test_a_model_that_makes_room_at_the_start_has_not_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = [
        ModelStatus("asleep", 1, State.READY, "unloaded to make room for other models"),
        ModelStatus("broken", 2, State.FAILED, "its file is empty"),
    ]
    serve._report_failures(SimpleNamespace(engine=SimpleNamespace(statuses=lambda: statuses)))
    assert capsys.readouterr().err == "  broken version 2 FAILED: its file is empty\n"


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("fe80::1", "[fe80::1]"), ("box", "box")],
)  # fmt: skip
def test_the_address_that_is_printed_can_be_opened(host: str, shown: str) -> None:
    assert serve._reachable(host) == shown


def test_progress_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    serve._tell(Loaded("digits", 1, 0.44, 1, 2, failed=False))
    serve._tell(Loaded("other", 3, 1.0, 2, 2, failed=True))
    assert capsys.readouterr().out == (
        "  1 of 2: digits version 1 ready in 0.4 s\n  2 of 2: other version 3 failed after 1.0 s\n"
    )
