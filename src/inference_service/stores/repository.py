"""A model repository that lies in an object store, served from a local copy."""

import hashlib
import logging
import threading
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.stores.base import StoreFailed
from inference_service.stores.clouds import open_store
from inference_service.stores.mirror import Mirror

log = logging.getLogger(__name__)


class StoredRepository:
    """The copy of the repository at ``url``, below the folder ``cache``.

    Made without a copy it needs the store; raises InvalidModel where that can't be had.
    """

    def __init__(self, url: str, cache: Path) -> None:
        folder = cache / "stores" / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._changing = threading.Lock()
        try:
            self._mirror = Mirror(open_store(url), folder)
            self.path = self._mirror.current
            self._mirror.sync()
        except (StoreFailed, OSError) as error:
            if not (folder / "current").exists():
                raise InvalidModel(f"the model repository can't be fetched: {error}") from error
            self.path = folder / "current"
            log.error("serving the copy of before, as the store can't be read: %s", error)

    def refresh(self) -> None:
        """Fetch what has changed; what was fetched before stays where the store is down."""
        with self._changing:
            try:
                if self._mirror.sync():
                    log.info("the copy of the model repository has changed")
            except (StoreFailed, OSError) as error:
                log.error("the model repository can't be fetched: %s", error)
