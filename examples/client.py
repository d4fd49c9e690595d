"""Import, search and match through a node's HTTP API, with nothing but `requests`.

    pip install requests
    edge-net start --detach
    python examples/client.py http://127.0.0.1:3141
"""

import sys

import requests

NOTES = [
    "Renew the TLS certificate with certbot renew and reload nginx afterwards.",
    "The nightly backup of the database runs at two and is kept for thirty days.",
    "Set a timeout on a TCP connection with settimeout before connect is called.",
    "Sourdough needs a starter that was fed within the last twelve hours.",
]


def main(base: str) -> None:
    def ask(method: str, path: str, body=None) -> dict:
        try:
            answer = requests.request(method, base + path, json=body, timeout=60)
        except requests.ConnectionError:
            sys.exit(f"no node answers at {base}: start one with `edge-net start --detach`")
        if not answer.ok:
            error = answer.json()["error"]
            sys.exit(f"{error['what']}: {error['why']}; {error['next']}")
        return answer.json()

    def post(path: str, body) -> dict:
        return ask("POST", path, body)

    names = [c["name"] for c in ask("GET", "/api/v1/collections")["collections"]]
    if "notes" not in names:
        post("/api/v1/collections", {"name": "notes"})
    records = [{"text": text, "payload": {"line": i}} for i, text in enumerate(NOTES)]
    done = post("/api/v1/collections/notes/records", records)
    print(f"{done['stored']} stored, {done['known']} known already, {done['failed']} failed")

    found = post("/api/v1/collections/notes/search", {"text": "how do I renew the certificate", "k": 2})
    for hit in found["hits"]:
        print(f"{hit['score']:.3f}  {hit['payload']['text']}")
    assert "certbot" in found["hits"][0]["payload"]["text"]

    matched = post("/api/v1/match", {"text": "the bread did not rise", "labels": ["baking", "databases", "networks"]})
    print(f"{matched['label']}  {matched['score']:.3f}")
    assert matched["label"] == "baking"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3141")
