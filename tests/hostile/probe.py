"""Asks for health every 20 ms until its input ends, and prints the longest answer in seconds.

A process of its own, on plain sockets: what the attacker's interpreter does must not be taken for a
stall of the server.
"""

import http.client
import sys
import threading
import time
from urllib.parse import urlsplit

_EVERY = 0.02
_TIMEOUT = 60.0


def main() -> None:
    place = urlsplit(sys.argv[1])
    done = threading.Event()

    def until_the_end() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=until_the_end, daemon=True).start()
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_TIMEOUT)
    longest = 0.0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        begun = time.perf_counter()
        try:
            connection.request("GET", "/v2/health/live")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()
            longest = max(longest, _TIMEOUT)
        longest = max(longest, time.perf_counter() - begun)
        if done.wait(_EVERY):
            break
    sys.stdout.write(f"{longest}\n")


if __name__ == "__main__":
    main()
