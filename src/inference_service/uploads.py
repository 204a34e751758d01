"""Writes an uploaded version into the repository: whole, or not at all."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from inference_service.core.errors import InvalidInput, InvalidModel, TooLarge, Unavailable
from inference_service.importing.publish import MODEL, Files, check_free, publish
from inference_service.repository.contents import HIDDEN, is_name

_RETRY_AFTER = 60.0  # seconds


async def write_version(
    models: Path, name: str, version: int, chunks: AsyncIterator[bytes], *, digest: str, most: int
) -> str:
    """Stream the content to disk, check it, and let it show in one rename; returns its SHA-256.

    ``digest`` is the one that is expected ("": any), ``most`` the bytes that are accepted. Raises
    InvalidInput, TooLarge, or Unavailable where the disk takes no more; nothing is left then, nor
    after a kill: the file has no name until it is checked.
    """
    if not is_name(name) or name.startswith(HIDDEN):
        raise InvalidInput("this can't be a model's name, which stands in paths")
    folder = models / name
    try:
        await asyncio.to_thread(check_free, folder, version)
    except InvalidModel as error:
        raise InvalidInput(str(error).replace(f"{models}/", "")) from None
    try:
        return await _written(models, folder, version, chunks, digest=digest, most=most)
    except OSError as error:  # a full disk, a quota, a repository that is read only
        raise Unavailable(
            f"the model can't be stored in the repository: {error.strerror}",
            reason="repository", retry_after=_RETRY_AFTER,
        ) from error  # fmt: skip


async def _written(
    models: Path, folder: Path, version: int, chunks: AsyncIterator[bytes], *, digest: str,
    most: int,
) -> str:  # fmt: skip
    total, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile(dir=models) as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > most:
                raise TooLarge(f"the model is larger than {most} bytes (admin.max_upload_bytes)")
            total.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        file.flush()
        found = total.hexdigest()
        if not size:
            raise InvalidInput("the body is empty: expected the model.onnx")
        if digest and digest != found:
            raise InvalidInput(f"the content has the SHA-256 {found}, Content-Digest says {digest}")
        files = Files("", {MODEL: Path(f"/proc/self/fd/{file.fileno()}")})
        try:
            await asyncio.to_thread(publish, folder, version, files)
        except InvalidModel as error:
            raise InvalidInput(str(error).replace(f"{models}/", "")) from None
    return found
