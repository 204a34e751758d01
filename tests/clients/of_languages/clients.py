"""Clients for Python: a line of kind, client and answer for each call.

Usage: python clients.py URL PICTURE
"""

import asyncio
import io
import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import curl_cffi.requests
import httplib2
import httpx
import niquests
import pycurl
import requests
import urllib3

URL, PICTURE = sys.argv[1], Path(sys.argv[2])
LETTERS, COLOURS = f"{URL}/models/letters/classify", f"{URL}/models/colours/classify"
ONE, TWO = {"text": "zebra zoo"}, {"texts": ["zebra zoo", "yes"]}
RED = PICTURE.read_bytes()


def tell(kind: str, client: str, answer: Callable[[], Any]) -> None:
    try:
        body = answer()
    except Exception as error:  # told to whoever compares
        body = repr(error)
    text = body.decode() if isinstance(body, bytes) else str(body)
    print(kind, client, text.replace("\n", " "), sep="\t", flush=True)


def in_urllib(where: str, body: Any, kind: str = "") -> bytes:
    headers = {"Content-Type": kind} if kind else {}
    with urllib.request.urlopen(urllib.request.Request(where, body, headers), timeout=20) as answer:
        found: bytes = answer.read()
        return found


def in_curl(where: str, **options: Any) -> bytes:
    answer, curl = io.BytesIO(), pycurl.Curl()
    for name, value in {"URL": where, "WRITEDATA": answer, **options}.items():
        curl.setopt(getattr(pycurl, name), value)
    curl.perform()
    return answer.getvalue()


async def in_aiohttp() -> None:
    async with aiohttp.ClientSession() as session:
        for kind, client, where, body in (
            ("text", "JSON", LETTERS, {"json": ONE}),
            ("text", "bytes of JSON", LETTERS, {"data": json.dumps(ONE).encode()}),
            ("text", "text of JSON", LETTERS, {"data": json.dumps(ONE)}),
            ("text", "form", LETTERS, {"data": ONE}),
            ("text", "compressed", LETTERS, {"json": ONE, "compress": "deflate"}),
            ("picture", "bytes", COLOURS, {"data": RED}),
            ("picture", "form", COLOURS, {"data": {"image": io.BytesIO(RED)}}),
        ):
            async with session.post(where, **body) as answer:
                text = await answer.text()
            tell(kind, f"aiohttp, {client}", lambda text=text: text)


def main() -> None:
    data = json.dumps(ONE)
    tell("text", "urllib", lambda: in_urllib(LETTERS, data.encode(), "application/json"))
    tell("text", "urllib without a type", lambda: in_urllib(LETTERS, data.encode()))
    form = urllib.parse.urlencode(TWO, doseq=True).encode()
    tell("texts", "urllib, form", lambda: in_urllib(LETTERS, form))
    tell("picture", "urllib, file", lambda: in_urllib(COLOURS, PICTURE.open("rb")))
    tell("text", "requests", lambda: requests.post(LETTERS, json=ONE, timeout=20).text)
    tell("texts", "requests, form", lambda: requests.post(LETTERS, data=TWO, timeout=20).text)
    files = [("images", ("red.png", RED)), ("images", ("red.png", RED))]
    tell(
        "pictures", "requests, files", lambda: requests.post(COLOURS, files=files, timeout=20).text
    )
    tell(
        "picture",
        "requests, file",
        lambda: requests.post(COLOURS, data=PICTURE.open("rb"), timeout=20).text,
    )
    both = httpx.Client(http2=True)
    tell("text", "httpx, HTTP/2 allowed", lambda: both.post(LETTERS, json=ONE).text)
    tell("texts", "httpx, form", lambda: both.post(LETTERS, data=TWO).text)
    tell("picture", "httpx, bytes", lambda: both.post(COLOURS, content=RED).text)
    tell("picture", "httpx, file", lambda: both.post(COLOURS, files={"image": RED}).text)
    tell("text", "urllib3", lambda: urllib3.request("POST", LETTERS, json=ONE).data)
    tell("text", "urllib3, fields", lambda: urllib3.request("POST", LETTERS, fields=ONE).data)
    tell("text", "pycurl", lambda: in_curl(LETTERS, POSTFIELDS=data))
    upload = [("image", (pycurl.FORM_FILE, str(PICTURE)))]
    tell("picture", "pycurl, form", lambda: in_curl(COLOURS, HTTPPOST=upload))
    tell("text", "httplib2", lambda: httplib2.Http().request(LETTERS, "POST", data)[1])
    tell("text", "niquests", lambda: niquests.post(LETTERS, json=ONE).text)
    tell("text", "curl_cffi", lambda: curl_cffi.requests.post(LETTERS, json=ONE, timeout=20).text)
    asyncio.run(in_aiohttp())


if __name__ == "__main__":
    main()
