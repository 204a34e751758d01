"""Keeps a service known to discovery servers while it is ready, and unknown once it leaves."""

import asyncio
import logging
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Sequence
from urllib.parse import unquote, urlsplit, urlunsplit

from inference_service.platforms.discovery import TICK, Call, Membership, Standing

log = logging.getLogger(__name__)

TIMEOUT = 3.0
"""Seconds for an answer of a discovery server."""

Send = Callable[[Call], int | None]
"""Sends a call; the status of the answer, None where there was none. It may block."""


def send(call: Call) -> int | None:
    """By HTTP or HTTPS. A name and password in the URL are sent as Basic authentication."""
    parts = urlsplit(call.url)
    headers = dict(call.headers)
    if parts.username is not None:
        given = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + b64encode(given.encode()).decode()
    url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked in the settings
        url, call.body or None, headers, method=call.method
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError as error:
        log.warning("no answer of the discovery server at %s: %s", parts.hostname, error)
        return None


class Registration:
    """One task for all discovery servers; each is told by itself, in a thread."""

    def __init__(
        self, members: Sequence[Membership], standing: Callable[[], Standing], send: Send = send
    ) -> None:
        self._members = members
        self._standing = standing
        self._send = send
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin. Needs a running event loop."""
        self._tasks = [asyncio.create_task(self._keep(member)) for member in self._members]

    async def stop(self) -> None:
        """Leave every server. The standing must be LEAVING by now."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * TIMEOUT + 2 * TICK)
        for task in self._tasks:
            task.cancel()

    async def _keep(self, member: Membership) -> None:
        clock = asyncio.get_running_loop().time
        while (standing := self._standing()) is not Standing.LEAVING:
            call = member.due(standing, clock())
            if call is not None:
                member.answered(await self._sent(call), clock())
            await asyncio.sleep(TICK)
        call = member.due(Standing.LEAVING, clock())
        if call is not None:
            await self._sent(call)
            member.left()

    async def _sent(self, call: Call) -> int | None:
        status = await asyncio.to_thread(self._send, call)
        if status is not None and status >= 400:
            path = urlsplit(call.url).path
            log.warning("the discovery server answers %d to %s %s", status, call.method, path)
        return status
