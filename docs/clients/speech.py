"""Sends a recording as if somebody spoke just now, and writes down what is said while it goes on.

Usage: python docs/clients/speech.py http://localhost:8000 recording.flac [--fast]
"""

import json
import sys
import threading
import time

import soundfile
from websockets.sync.client import ClientConnection, connect

url, name = sys.argv[1:3]
samples, rate = soundfile.read(name, dtype="int16", always_2d=True)
samples = samples[:, 0]
pause = 0.0 if "--fast" in sys.argv else 0.1


def speak(socket: ClientConnection) -> None:
    """A tenth of a second at a time."""
    for start in range(0, len(samples), rate // 10):
        socket.send(samples[start : start + rate // 10].tobytes())
        time.sleep(pause)
    socket.send('{"event": "end"}')


stream = f"{url.replace('http', 'ws', 1)}/models/transcription/transcribe/stream?rate={rate}"
with connect(stream) as socket:
    threading.Thread(target=speak, args=(socket,), daemon=True).start()
    for message in socket:
        event = json.loads(message)
        if event["event"] == "error":
            sys.exit(event["error"])
        if event["event"] == "segment":
            print(f"{event['start']:6.2f} {event['end']:6.2f} {event['text']}", flush=True)
