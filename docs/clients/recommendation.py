"""What else goes with these items, and why?

Usage: python docs/clients/recommendation.py http://localhost:8000 numpy pandas ...
"""

import sys

import requests

url, *items = sys.argv[1:]
answer = requests.post(
    f"{url}/models/libraries/recommend", json={"user": items, "top_k": 5}, timeout=10
)
if not answer.ok:
    sys.exit(answer.json()["error"])
for one in answer.json()["results"][0]["items"]:
    reasons = ", ".join(reason["item"] for reason in one["reasons"])
    print(f"{one['score']:.2f}\t{one['item']}\tbecause of {reasons}" if reasons else one["item"])
