"""Refuses what asks for the same as a request that was refused just before, without decoding it.

In an overload most requests are refused: decoding each of them takes the time of the answers. So a
refusal is kept (a negative cache) for requests for the same model, of the same client, class and
time, for as long as the scheduler says that nothing has changed. The body has to be as long at
least, as fewer rows may be taken, and less than twice as long, as those of more than a batch are
judged otherwise. What a body says of its class isn't known here, so one that says it is decoded.
"""

import math

from inference_service.core.errors import Overloaded, Repeat
from inference_service.serving.codec import Content
from inference_service.web.http1.front.request import HotRequest

_MOST = 1024
_PRIORITY = b'"priority"'


class _Kept:
    """A refusal: of which model version and size of body, and what is answered."""

    __slots__ = ("body", "error", "headers", "model", "repeat", "size", "status", "version")

    def __init__(self, request: HotRequest, error: Overloaded, repeat: Repeat) -> None:
        self.model, self.version, self.size = request.model_name, request.version, request.size
        reply = request.hot.target.failure(error)
        self.status, self.body = reply.status, reply.body
        self.headers = [
            (name.encode(), value.encode())
            for name, value in reply.headers.items()
            if name != "retry-after"
        ]
        self.error = Overloaded(str(error), reason=error.reason)  # without its traceback
        self.repeat = repeat

    def fits(self, size: int) -> bool:
        """Whether a body of this size asks for about as much; 0: it was refused whatever it was."""
        return not self.size or self.size <= size < 2 * self.size


class Refusals:
    """The latest refusals, by what was asked for."""

    def __init__(self) -> None:
        self._kept: dict[object, _Kept] = {}

    def keep(self, request: HotRequest, client: str, error: Overloaded) -> None:
        """It was refused, after it was entered or while it was queued."""
        hot = request.hot
        if error.repeat is None or hot.target.ref is None:  # the body names the model
            return
        if len(self._kept) >= _MOST:
            self._kept.clear()
        key = hot.target, hot.timeout, hot.head.priority, client
        self._kept[key] = _Kept(request, error, error.repeat)

    def tell(self, request: HotRequest, client: str, body: bytes) -> bool:
        """Whether it is refused as the one before it; its answer is there then."""
        if not self._kept:
            return False
        hot = request.hot
        key = hot.target, hot.timeout, hot.head.priority, client
        kept = self._kept.get(key)
        if kept is None or not kept.fits(len(body)) or _PRIORITY in body:
            return False
        exchange = hot.target.edge.exchange
        seconds = kept.repeat.again(exchange.clock())
        if seconds is None:
            del self._kept[key]
            return False
        request.model_name, request.version = kept.model, kept.version
        exchange.fail(request, kept.error)
        request.status = kept.status
        retry = b"retry-after", b"%d" % max(1, math.ceil(seconds))
        request.content = Content(kept.body, headers=(retry, *kept.headers))
        request.at_once = True
        return True
