"""Object stores by obstore, the Python face of Rust's object_store.

Chosen over fsspec: one wheel of 4 MB for S3, Google Cloud Storage and Azure in place of three
packages with 150 MB of dependencies, requests are retried by the library, reads are streamed, and
a write is visible whole or not at all. Credentials come from the clouds' own chains alone: the
variables AWS_*, GOOGLE_*, AZURE_*, files of a container's identity, the instance's metadata.

Aliyun OSS speaks S3: OSS_ENDPOINT, OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET, OSS_SESSION_TOKEN,
OSS_REGION are what its own tools read.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inference_service.stores.base import CHUNK, FolderStore, Store, Stored, StoreFailed, is_key

_DATED = "date "
"""Begins the tags of stores that have no ETags."""
SCHEMES = frozenset({"s3", "gs", "az", "abfs", "abfss", "oss", "http", "https"})


def is_url(text: str) -> bool:
    """Whether a repository is an object store's."""
    return urlsplit(text).scheme in SCHEMES


def open_store(url: str) -> Store:
    """The store at a URL: a folder's path, ``file://`` or one of `SCHEMES`. Raises StoreFailed."""
    parts = urlsplit(url)
    if parts.scheme in {"", "file"}:
        return FolderStore(Path(parts.path if parts.scheme else url))
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in sorted(SCHEMES))
        raise StoreFailed(f"{parts.scheme}:// is no known store; there are {known} and folders")
    if parts.username or parts.password:
        raise StoreFailed("a URL must not hold credentials: use the cloud's own variables or files")
    if parts.path.endswith(".onnx"):
        raise StoreFailed(
            f"{url} is one file, and a store is a folder of models: name that, or fetch the file "
            "and serve it"
        )
    try:
        import obstore  # noqa: F401
        from obstore.store import S3Store, from_url
    except ModuleNotFoundError as error:
        raise StoreFailed(f"{url} needs the extra 'stores': {error.name} is missing") from error
    try:
        options: Any = {"allow_http": True} if os.environ.get("AWS_ALLOW_HTTP") else None
        if parts.scheme == "oss":
            return CloudStore(url, S3Store(parts.netloc, **_oss(parts.netloc, parts.path)))
        return CloudStore(url, from_url(url, client_options=options))
    except StoreFailed:
        raise
    except Exception as error:  # the library's errors have no common base
        raise StoreFailed(f"{url}: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    """A library's complaint without the values in memory that it prints beneath."""
    return str(error).strip().split("\n", 1)[0][:300]


def _oss(bucket: str, path: str) -> dict[str, Any]:
    given = os.environ
    endpoint = given.get("OSS_ENDPOINT", "")
    if not endpoint:
        raise StoreFailed(
            f"oss://{bucket} needs OSS_ENDPOINT, such as https://oss-cn-hangzhou.aliyuncs.com"
        )
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    parts = urlsplit(endpoint)
    local = parts.hostname in {"localhost", "127.0.0.1"}
    options = {
        "prefix": path.strip("/") or None,
        "endpoint": endpoint if local else f"{parts.scheme}://{bucket}.{parts.netloc}",
        "virtual_hosted_style_request": not local,
        "access_key_id": given.get("OSS_ACCESS_KEY_ID"),
        "secret_access_key": given.get("OSS_ACCESS_KEY_SECRET"),
        "session_token": given.get("OSS_SESSION_TOKEN"),
        "region": given.get("OSS_REGION", "oss"),
        "client_options": {"allow_http": parts.scheme == "http"},
    }
    return {name: value for name, value in options.items() if value is not None}


class CloudStore:
    """A store of obstore."""

    def __init__(self, url: str, store: Any) -> None:
        self.url = url
        self._store = store

    def list(self) -> list[Stored]:
        """See `Store.list`."""
        try:
            found = [
                Stored(one["path"], one["size"], one["e_tag"] or f"{_DATED}{one['last_modified']}")
                for chunk in self._store.list()
                for one in chunk
            ]
        except Exception as error:
            raise self._failed("can't be listed", error) from error
        return sorted(one for one in found if is_key(one.key))

    def read(self, key: str, start: int = 0, tag: str = "") -> Iterator[bytes]:
        """See `Store.read`; a tag that is a date is not compared."""
        from obstore.exceptions import PreconditionError

        options: dict[str, Any] = {"range": {"offset": start}} if start else {}
        if tag and not tag.startswith(_DATED):
            options["if_match"] = tag
        try:
            for chunk in self._store.get(key, options=options).stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except PreconditionError as error:
            raise StoreFailed(f"{self.url}: {key} has been replaced since it was listed") from error
        except Exception as error:
            raise self._failed(f"{key} can't be read", error) from error

    def write(self, key: str, path: Path) -> None:
        """See `Store.write`; large files go in parts."""
        try:
            self._store.put(key, path)
        except Exception as error:
            raise self._failed(f"{key} can't be written", error) from error

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        try:
            self._store.delete(key)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failed(f"{key} can't be removed", error) from error

    def _failed(self, what: str, error: Exception) -> StoreFailed:
        return StoreFailed(f"{self.url}: {what}: {_in_words(error)}")
