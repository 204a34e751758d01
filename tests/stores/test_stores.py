"""Copies of repositories and backups: what a store, a kill or a broken line leaves behind."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inference_service import Service
from inference_service.core.errors import InvalidModel
from inference_service.core.requests import ModelRef
from inference_service.settings import Settings
from inference_service.stores.backup import back_up, dates, restore, verify
from inference_service.stores.base import FolderStore, Stored, StoreFailed
from inference_service.stores.clouds import open_store
from inference_service.stores.mirror import Mirror
from tests import onnx_models
from tests.conftest import ROOT
from tests.support import running, until


def put(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    put(tmp_path / "origin", m__1__model="one", m__2__model="two", n__1__model="one")
    return tmp_path / "origin"


class Counting(FolderStore):
    """Counts the bytes that are read, and breaks after ``most`` of them."""

    total = 0
    most = 10**9

    def read(self, key: str, start: int = 0, tag: str = "") -> Iterator[bytes]:
        for chunk in super().read(key, start, tag):
            for i in range(len(chunk)):
                if self.total >= self.most:
                    raise StoreFailed("the line broke")
                self.total += 1
                yield chunk[i : i + 1]


def test_a_copy_has_all_files_and_fetches_only_changes(origin: Path, tmp_path: Path) -> None:
    store = Counting(origin)
    mirror = Mirror(store, tmp_path / "copy")
    assert mirror.sync()
    assert content(mirror.current) == content(origin)
    store.total = 0
    assert not mirror.sync(), "nothing has changed"
    put(origin, m__3__model="three")
    (origin / "n" / "1" / "model").unlink()
    assert mirror.sync()
    assert content(mirror.current) == content(origin)
    assert store.total == len("three")


def test_a_download_is_taken_up_where_it_broke(origin: Path, tmp_path: Path) -> None:
    put(origin, m__1__model="0123456789")
    store = Counting(origin)
    store.most = 4
    mirror = Mirror(store, tmp_path / "copy")
    with pytest.raises(StoreFailed, match="the line broke"):
        mirror.sync()
    assert not mirror.current.exists(), "nothing is visible"
    store.most, store.total = 10**9, 0
    mirror.sync()
    assert (mirror.current / "m" / "1" / "model").read_text() == "0123456789"
    assert store.total == 6 + len("two") + len("one")


def test_an_object_that_is_shorter_than_it_was_told_is_refused(
    origin: Path, tmp_path: Path
) -> None:
    class Short(FolderStore):
        def list(self) -> list[Stored]:
            return [one._replace(size=one.size + 1) for one in super().list()]

    with pytest.raises(StoreFailed, match="m/1/model has 3 bytes, expected 4"):
        Mirror(Short(origin), tmp_path / "copy").sync()


def test_a_download_is_not_taken_up_with_the_bytes_of_another_object(
    origin: Path, tmp_path: Path
) -> None:
    """It was replaced after it was listed, by one of the same length."""

    class Stale(FolderStore):
        def list(self) -> list[Stored]:
            found = super().list()
            put(origin, m__1__model="ONE")
            os.utime(origin / "m" / "1" / "model", ns=(1, 1))
            return found

    mirror = Mirror(Stale(origin), tmp_path / "copy")
    with pytest.raises(StoreFailed, match="m/1/model has been replaced since it was listed"):
        mirror.sync()
    assert not mirror.current.exists()
    assert mirror.sync(), "the next look lists the new one"
    assert (mirror.current / "m" / "1" / "model").read_text() == "ONE"


def test_keys_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for key in ("../secret", "/etc/passwd", "a/../../b", "a//b", ""):
        with pytest.raises(StoreFailed, match="is no key within"):
            next(store.read(key))


def day(number: int) -> datetime:
    return datetime(2026, 11, number, 3, tzinfo=UTC)


def test_backups_are_incremental_dated_and_kept(origin: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "backup")
    (tmp_path / "backup").mkdir()
    first = back_up(origin, store, 2, day(1))
    assert (first.files, first.stored, first.date) == (3, 2, "20261101T030000Z")
    assert verify(store, first.date) == 3
    put(origin, m__3__model="three")
    (origin / "m" / "2" / "model").unlink()
    assert back_up(origin, store, 2, day(2)).stored == 1
    third = back_up(origin, store, 2, day(3))
    assert (third.stored, third.removed) == (0, 1)
    assert dates(store) == ["20261102T030000Z", "20261103T030000Z"]
    assert len(list((tmp_path / "backup" / "blobs").iterdir())) == 2, "'two' is needed no more"
    assert restore(store, tmp_path / "again") == third.date
    assert content(tmp_path / "again") == content(origin)


def test_a_damaged_backup_is_not_restored(origin: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "backup")
    (tmp_path / "backup").mkdir()
    report = back_up(origin, store, 5, day(1))
    blob = next((tmp_path / "backup" / "blobs").iterdir())
    blob.write_text("0ne")
    for work in (lambda: verify(store, report.date), lambda: restore(store, tmp_path / "again")):
        with pytest.raises(StoreFailed, match="is damaged"):
            work()
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".restoring-*"))


def test_a_restore_never_overwrites(origin: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "backup")
    (tmp_path / "backup").mkdir()
    back_up(origin, store, 5, day(1))
    with pytest.raises(StoreFailed, match="is there already"):
        restore(store, origin)


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from inference_service import Service
from inference_service.core.errors import InvalidModel
from inference_service.core.requests import ModelRef
from inference_service.settings import Settings
from inference_service.stores.backup import back_up, restore
from inference_service.stores.base import FolderStore
from inference_service.stores.mirror import Mirror
what, at, place = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
steps = 0
def step(name):
    global steps
    steps += 1
    if steps == at:
        os.kill(os.getpid(), signal.SIGKILL)
def clean(place, work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]
if what == "mirror":
    work = lambda: Mirror(FolderStore(place / "origin"), place / "copy", step).sync()
elif what == "backup":
    moment = datetime(2026, 11, 2, 3, tzinfo=UTC)
    work = lambda: back_up(place / "origin", FolderStore(place / "backup"), 1, moment, step)
else:
    work = lambda: restore(FolderStore(place / "backup"), place / "again", None, step)
for at in range(1, 60):
    status = clean(place, work)
    print(at, os.WIFSIGNALED(status), flush=True)
    sys.stdin.readline()
    if not os.WIFSIGNALED(status):
        break
"""


def killed_at_each_step(what: str, place: Path) -> Iterator[bool]:
    """Kill -9 at step 1, 2, 3 ...; yields after each whether it was killed."""
    command = [sys.executable, "-c", KILLED, what, "0", str(place)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        for line in process.stdout:
            yield line.split()[1] == "True"
            process.stdin.write("\n")
            process.stdin.flush()


def test_a_kill_at_any_step_leaves_the_copy_as_it_was_or_whole(
    origin: Path, tmp_path: Path
) -> None:
    mirror = Mirror(FolderStore(origin), tmp_path / "copy")
    mirror.sync()
    before = content(mirror.current)
    put(origin, m__3__model="three", m__4__model="four")
    after, kills = content(origin), 0
    for killed in killed_at_each_step("mirror", tmp_path):
        kills += killed
        assert content(mirror.current) in (before, after)
    assert kills > 5
    assert content(mirror.current) == after


def test_a_kill_at_any_step_leaves_whole_backups(origin: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "backup")
    (tmp_path / "backup").mkdir()
    back_up(origin, store, 1, day(1))
    put(origin, m__3__model="three", m__4__model="four")
    kills = 0
    for killed in killed_at_each_step("backup", tmp_path):
        kills += killed
        for date in dates(store):
            verify(store, date)
    assert kills > 2
    assert dates(store) == ["20261102T030000Z"]


def test_a_kill_at_any_step_leaves_no_half_restored_repository(
    origin: Path, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path / "backup")
    (tmp_path / "backup").mkdir()
    back_up(origin, store, 1, day(1))
    kills = 0
    for killed in killed_at_each_step("restore", tmp_path):
        kills += killed
        again = tmp_path / "again"
        assert not again.exists() or content(again) == content(origin)
    assert kills > 3
    assert not list(tmp_path.glob(".restoring-*")), "leftovers are removed by the next one"


def test_urls_are_told_apart() -> None:
    assert isinstance(open_store("/tmp/models"), FolderStore)
    with pytest.raises(StoreFailed, match=r"ftp:// is no known store"):
        open_store("ftp://models")
    with pytest.raises(StoreFailed, match="must not hold credentials"):
        open_store("s3://key:secret@models")


async def test_a_repository_in_a_store_is_served_also_while_the_store_is_down(
    tmp_path: Path,
) -> None:
    origin = tmp_path / "origin"
    onnx_models.save(onnx_models.multiplier(2), origin / "m" / "1" / "model.onnx")
    settings = Settings.model_validate(
        {
            "models": f"file://{origin}",
            "repository": {
                "store_cache": tmp_path / "cache", "store_interval": 0.05, "watch": True,
            },
        }
    )  # fmt: skip
    service = Service(settings)
    async with running(service):
        onnx_models.save(onnx_models.multiplier(3), origin / "m" / "2" / "model.onnx")
        await until(lambda: service.engine.describe(ModelRef("m")).version == 2)
    shutil.rmtree(origin)
    again = Service(settings)
    async with running(again):
        assert again.engine.describe(ModelRef("m")).version == 2
    empty = settings.model_copy(
        update={"repository": settings.repository.model_copy(update={"store_cache": origin})}
    )
    with pytest.raises(InvalidModel, match=r"the model repository can't be fetched: .*no folder"):
        Service(empty)


def test_a_folder_s_links_that_lead_out_of_it_are_not_copied(origin: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (origin / "m/1/labels").symlink_to(tmp_path / "secret")
    (origin / "n/1/same").symlink_to("../../m/1/model")
    mirror = Mirror(FolderStore(origin), tmp_path / "copy")
    assert mirror.sync()
    assert content(mirror.current) == {
        "m/1/model": "one", "m/2/model": "two", "n/1/model": "one", "n/1/same": "one"
    }  # fmt: skip
