"""A webhook's receiver on a real port: verifies signatures, counts each delivery once, can refuse.

Callers: tests of the sender. It shares no code with the sender: signatures are made here by the words
of the document.
"""

import asyncio
import hashlib
import hmac
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Receiver:
    """What was received. `answers`: statuses to answer with, in order; then 200. None: no answer."""

    secret: str
    answers: list = field(default_factory=list)
    location: str = ""
    requests: list = field(default_factory=list)
    accepted: dict = field(default_factory=dict)
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self):
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook"

    def take(self, headers, body):
        """Verify one delivery and take it in; gives the status of the answer, None for none."""
        self.requests.append((headers, body))
        timestamp = headers["x-x3fleet-timestamp"]
        expected = hmac.new(
            self.secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256
        ).hexdigest()
        if not hmac.compare_digest(f"sha256={expected}", headers["x-x3fleet-signature"]):
            return 401
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            # By its id: a second delivery of the same changes nothing.
            self.accepted[headers["x-x3fleet-delivery"]] = json.loads(body)
            self.arrived.set()
        return status

    async def serve(self, reader, writer):
        """Answer one request, as little HTTP as that needs."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value for name, value in lines}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            status = self.take(headers, body)
            if status is not None:
                where = f"Location: {self.location}\r\n" if self.location else ""
                writer.write(
                    f"HTTP/1.1 {status} x\r\n{where}Content-Length: 0\r\n"
                    "Connection: close\r\n\r\n".encode()
                )
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def receiving(secret, **options):
    """Listen on a free port while the block runs."""
    receiver = Receiver(secret, **options)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()
