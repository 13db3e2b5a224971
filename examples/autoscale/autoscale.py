"""An operator's stand-in: takes the signed webhook, and writes, drains or removes a node's manifest.

It talks to nobody: x3fleet follows the folder, places keys on a new node and moves them off a drained one.
Where machines are rented by an API, `_add` and `_remove` are the places to call it. Standard library only.

    autoscale.py FOLDER SPARE.JSON --port PORT        (the secret: WEBHOOK_SECRET)
"""

import argparse
import hashlib
import hmac
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

OLDEST_S = 300
"""A delivery signed longer ago than this may be one that somebody repeats."""
NODE = """\
apiVersion: x3fleet/v1
kind: Node
metadata:
  name: {name}
  labels: {{{labels}}}
spec:
  panel:
    url: {url}
    auth: {{token: {{env: {token}}}}}
  address: {address}
  capacity: {{keys: {keys}}}
  drain: false
"""


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Tell whether x3fleet sent this body, lately; names of headers in lower case."""
    stamp = headers.get("x-x3fleet-timestamp", "")
    if not stamp.isdigit() or abs(now - int(stamp)) > OLDEST_S:
        return False
    expected = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", headers.get("x-x3fleet-signature", ""))


def follow(message: Mapping[str, Any], folder: Path, spares: Path) -> str:
    """Do what a message asks for, and say what was done.

    Doing it twice changes nothing: a delivery may come again.
    """
    if message["condition"] != "Capacity" or message["state"] != "firing":
        return "nothing to do"
    match message["reason"]:
        case "scale_out":
            return _add(message["alert"].split("/")[1], folder, spares)
        case "scale_in":
            return _drain(folder / f"{message['node']}.yaml")
        case "remove":
            return _remove(folder / f"{message['node']}.yaml")
        case other:
            return f"nobody told this script of {other}"


def _add(group: str, folder: Path, spares: Path) -> str:
    declared = {path.stem for path in folder.glob("*.yaml")}
    for spare in json.loads(spares.read_text(encoding="utf-8")):
        if spare["group"] == group and spare["name"] not in declared:
            label, _, value = group.partition("=")
            text = NODE.format(**spare, labels=f"{label}: {value}")
            _write(folder / f"{spare['name']}.yaml", text)
            return f"declared {spare['name']}"
    return f"no spare machine for {group}"


def _drain(manifest: Path) -> str:
    text = manifest.read_text(encoding="utf-8")
    _write(manifest, re.sub(r"^  drain: false$", "  drain: true", text, flags=re.MULTILINE))
    return f"draining {manifest.stem}"


def _remove(manifest: Path) -> str:
    manifest.unlink(missing_ok=True)
    return f"removed {manifest.stem}"


def _write(path: Path, text: str) -> None:
    """Whole or not at all: x3fleet may read the folder at any moment."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def make_server(secret: str, folder: Path, spares: Path, port: int) -> HTTPServer:
    """Listen on loopback; a proxy with a certificate stands before it where x3fleet runs elsewhere."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if not is_signed(secret, headers, body, time.time()):
                self.send_error(401)
                return
            done = follow(json.loads(body), folder, spares)
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing of requests."""

    return HTTPServer(("127.0.0.1", port), Hook)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("spares", type=Path)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    server = make_server(os.environ["WEBHOOK_SECRET"], given.folder, given.spares, given.port)
    sys.stdout.write(f"listening on {server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
