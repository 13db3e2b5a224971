"""Starts commands as processes: forked from a program that is loaded once, or each by itself.

In the long run every command is an interpreter of its own, as at an operator's shell.
Callers: `operator`. Not here: what is typed.
"""

import asyncio
import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))


class Typed:
    """A running command, with what the tests use of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, ends: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout, self.stderr = asyncio.StreamReader(), asyncio.StreamReader()
        self._ending = asyncio.create_task(self._end(ends, writer))

    async def _end(self, ends: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        self.returncode = int(await ends.readline())
        writer.close()
        return self.returncode

    async def wait(self) -> int:
        """Wait for the end; gives the exit code, or minus the signal that ended it."""
        return await asyncio.shield(self._ending)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read both outputs to their ends, and wait for the end."""
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal; to a process that has ended, nothing."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


Process = Typed | asyncio.subprocess.Process


async def start(
    program: str, words: Sequence[str], environment: dict[str, str], folder: Path
) -> Process:
    """Start a module of ours as a process with piped output and nothing to read."""
    if not DEEP:
        return await _fork(program, words, environment, folder)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", program, *words,
        cwd=folder, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _fork(
    program: str, words: Sequence[str], environment: dict[str, str], folder: Path
) -> Typed:
    asker = socket.socket(socket.AF_UNIX)
    asker.connect(_server())
    request = {"program": program, "words": list(words), "environment": environment}
    out, its_out = os.pipe()
    err, its_err = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    files = [nothing, its_out, its_err]
    message = json.dumps({**request, "folder": str(folder)}).encode() + b"\n"
    sent = socket.send_fds(asker, [message], files)
    asker.sendall(message[sent:])
    for file in files:
        os.close(file)
    ends, writer = await asyncio.open_unix_connection(sock=asker)
    process = Typed(int(await ends.readline()), ends, writer)
    for reader, file in ((process.stdout, out), (process.stderr, err)):
        await asyncio.get_running_loop().connect_read_pipe(
            functools.partial(asyncio.StreamReaderProtocol, reader), os.fdopen(file, "rb")
        )
    return process


@functools.cache
def _server() -> str:
    """Start the server of this test process; gives the path of its socket."""
    folder = tempfile.TemporaryDirectory(prefix="x3fleet-")
    path = f"{folder.name}/commands"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.loaded", path],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    ends, says = server.stdin, server.stdout
    assert ends is not None
    assert says is not None

    def stop() -> None:
        ends.close()
        says.close()
        server.wait()
        folder.cleanup()

    atexit.register(stop)
    assert b"ready\n" == says.readline()
    return path
