"""The language of each line of standard input.

Usage: python docs/clients/language.py http://localhost:8000 < texts
"""

import sys

import requests

lines = [line.strip() for line in sys.stdin if line.strip()]
for start in range(0, len(lines), 200):
    part = lines[start : start + 200]
    body = {"texts": part, "top_k": 1}
    answer = requests.post(f"{sys.argv[1]}/models/language/classify", json=body, timeout=60)
    if not answer.ok:
        sys.exit(answer.json()["error"])
    for text, result in zip(part, answer.json()["results"], strict=True):
        labels = result["labels"]
        print(labels[0]["label"], text, sep="\t")  # "unsure" where it can't be told
