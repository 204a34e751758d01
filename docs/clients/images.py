"""What is on these pictures, and what does it say there?

Usage: python docs/clients/images.py http://localhost:8000 picture.jpg ...
"""

import sys
from pathlib import Path

import requests

url, *names = sys.argv[1:]
for name in names:
    data = Path(name).read_bytes()
    for task, shown in (("imagenet/classify", "labels"), ("ocr/read", "lines")):
        answer = requests.post(f"{url}/models/{task}", data=data, timeout=60)
        if not answer.ok:
            sys.exit(f"{name}: {answer.json()['error']}")
        for one in answer.json()["results"][0][shown]:
            print(f"{name}\t{task}\t{one['score']:.2f}\t{one.get('label') or one['text']}")
