"""Stores of the clouds, against their emulators: S3, Google's and Aliyun's by moto, Azure's Azurite.

Google's store is asked by its XML interface, which is that of S3, and Aliyun's by its S3 interface:
moto stands in for both.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from inference_service.stores.backup import back_up, restore
from inference_service.stores.base import StoreFailed
from inference_service.stores.clouds import CloudStore, open_store
from inference_service.stores.mirror import Mirror
from tests.ports import free_port
from tests.stores.test_stores import content, day, put
from tests.support import until
from tests.tools import TOOLS, need_file

_AZURITE_KEY = (  # of the account that every Azurite has
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_SIGNED = (  # moto looks whether a request is signed, and does not check it
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"
)
_PART = 6 * 2**20
"""Bytes above which a file is written in parts."""


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """An emulated S3 with the bucket "models"."""
    pytest.importorskip("obstore")
    moto: Any = pytest.importorskip("moto.server")
    from werkzeug.serving import make_server

    application = moto.DomainDispatcherApplication(moto.create_backend_app)

    def signed(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        """Google's client sends no token, or an empty one, where there are no credentials."""
        if environ.get("HTTP_AUTHORIZATION", "").strip() in {"", "Bearer"}:
            environ["HTTP_AUTHORIZATION"] = _SIGNED
        return application(environ, start)

    port = free_port()
    server = make_server("127.0.0.1", port, signed, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    urlopen(Request(f"{url}/models", method="PUT"), timeout=30).close()
    yield url
    server.shutdown()
    thread.join(30)


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Azurite with the container "models"."""
    pytest.importorskip("obstore")
    program = TOOLS / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    if (TOOLS / "azurite" / "unavailable").exists():
        pytest.skip("not run: npm could not install Azurite")
    need_file(program)
    port = free_port()
    folder = tmp_path_factory.mktemp("azurite")
    command = [
        str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder),
        "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"

            def made() -> bool:
                try:
                    _make_container(url)
                except (URLError, ConnectionError):
                    return False
                return True

            asyncio.run(until(made))
            yield url
        finally:
            process.terminate()


def _make_container(url: str) -> None:
    """Azure's storage has no container without a signed request for it."""
    path = "devstoreaccount1/models"
    date = format_datetime(datetime.now(UTC), usegmt=True)
    text = (
        f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:2021-08-06\n"
        f"/devstoreaccount1/{path}\nrestype:container"
    )
    signed = hmac.new(base64.b64decode(_AZURITE_KEY), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date, "x-ms-version": "2021-08-06", "Content-Length": "0",
        "Authorization": f"SharedKey devstoreaccount1:{base64.b64encode(signed).decode()}",
    }  # fmt: skip
    request = Request(f"{url}/{path}?restype=container", method="PUT", headers=headers)
    urlopen(request, timeout=30).close()


@pytest.fixture(params=["s3", "gs", "oss", "az"])
def cloud(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """The URL of an empty folder of a store, whose credentials are in the environment."""
    kind = request.param
    url = request.getfixturevalue("azurite" if kind == "az" else "s3_server")
    account = tmp_path / "account.json"
    account.write_text(json.dumps({
        "gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "",
        "private_key_id": "",
    }))  # fmt: skip
    variables = {
        "s3": {
            "AWS_ENDPOINT": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        },
        "gs": {"GOOGLE_SERVICE_ACCOUNT": str(account), "AWS_ALLOW_HTTP": "true"},
        "oss": {
            "OSS_ENDPOINT": url, "OSS_ACCESS_KEY_ID": "test", "OSS_ACCESS_KEY_SECRET": "test",
        },
        "az": {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url},
    }  # fmt: skip
    for name, value in variables[kind].items():
        monkeypatch.setenv(name, value)
    store = open_store(f"{kind}://models/{tmp_path.name}")
    yield store.url
    for one in store.list():
        store.delete(one.key)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    put(tmp_path / "origin", m__1__model="one", m__2__model="two", n__1__model="one")
    return tmp_path / "origin"


def filled(url: str, folder: Path) -> CloudStore:
    store = open_store(url)
    assert isinstance(store, CloudStore)
    for path in folder.rglob("model"):
        store.write(path.relative_to(folder).as_posix(), path)
    return store


def test_a_store_is_copied_and_backed_up_to(cloud: str, origin: Path, tmp_path: Path) -> None:
    store = filled(cloud + "/repository", origin)
    mirror = Mirror(store, tmp_path / "copy")
    assert mirror.sync()
    assert content(mirror.current) == content(origin)
    assert not mirror.sync()
    assert b"".join(store.read("m/2/model", 1)) == b"wo"
    store.delete("m/2/model")
    store.delete("m/2/model")
    assert mirror.sync()
    assert not (mirror.current / "m" / "2").exists()
    backup = open_store(cloud + "/backup")
    assert back_up(origin, backup, 3, day(1)).stored == 2
    restore(backup, tmp_path / "again")
    assert content(tmp_path / "again") == content(origin)


def test_a_large_file_is_written_in_parts_and_read_from_the_middle(
    cloud: str, tmp_path: Path
) -> None:
    store = open_store(cloud)
    large = os.urandom(3 * _PART + 1)
    (tmp_path / "large").write_bytes(large)
    store.write("m/1/model", tmp_path / "large")
    assert [one.size for one in store.list()] == [len(large)]
    assert b"".join(store.read("m/1/model", 2 * _PART)) == large[2 * _PART :]


def test_an_object_that_was_replaced_since_it_was_listed_is_not_read(
    cloud: str, origin: Path
) -> None:
    store = filled(cloud, origin)
    listed = {one.key: one for one in store.list()}["m/1/model"]
    assert b"".join(store.read(listed.key, 1, listed.tag)) == b"ne"
    put(origin, m__1__model="ONE")
    store.write(listed.key, origin / "m" / "1" / "model")
    with pytest.raises(StoreFailed, match="has been replaced since it was listed"):
        next(store.read(listed.key, 1, listed.tag))


def test_a_store_that_is_not_there_is_told(cloud: str) -> None:
    absent = cloud.replace("://models/", "://absent/")
    with pytest.raises(StoreFailed, match=f"{absent}: can't be listed"):
        open_store(absent).list()


def test_oss_without_an_endpoint_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.delenv("OSS_ENDPOINT", raising=False)
    with pytest.raises(StoreFailed, match="needs OSS_ENDPOINT, such as https://oss-cn-"):
        open_store("oss://models")


@pytest.mark.parametrize("url", ["https://a.example/m.onnx", "s3://models/m/1/model.onnx"])
def test_one_file_is_no_store(url: str) -> None:
    with pytest.raises(StoreFailed, match="is one file, and a store is a folder of models"):
        open_store(url)


def test_a_url_without_a_bucket_is_told_in_a_line() -> None:
    pytest.importorskip("obstore")
    with pytest.raises(StoreFailed) as error:
        open_store("s3://")
    assert "\n" not in str(error.value)
