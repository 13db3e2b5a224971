"""Simulated panels in processes of their own, several in each, looked into through their control ports.

Callers: the drill and its audit. Not here: who writes to them.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


@dataclass(frozen=True)
class Remote:
    """One panel of another process. `url`: what a node is declared with."""

    version: str
    url: str
    control: httpx.AsyncClient

    async def ask(self, path: str, body: Any = None, method: str = "") -> Any:
        """Ask the control port: GET without a body, POST with one, unless a method is named."""
        chosen = method or ("GET" if body is None else "POST")
        answer = await self.control.request(chosen, path, json=body)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    async def clients(self) -> dict[str, Any]:
        """Every client by email, as the panel stores it."""
        state = await self.ask("/state")
        found = {record["email"]: record for record in state["clients"]}
        for inbound in state["inbounds"]:
            for client in inbound["settings"].get("clients") or []:
                found.setdefault(client["email"], client)
        return found


@asynccontextmanager
async def farm(
    *batches: tuple[str, int], password: str, seed: int = 0
) -> AsyncIterator[list[Remote]]:
    """Run so many panels of each version while the block runs: a process for each batch."""
    async with AsyncExitStack() as stack:
        processes = []
        for number, (version, count) in enumerate(batches):
            process = await _start(version, count, password, seed + 1000 * number)
            stack.push_async_callback(_end, process)
            processes.append(process)
        panels = []
        for process, (_, count) in zip(processes, batches, strict=True):
            assert process.stdout is not None
            for _ in range(count):
                line = json.loads(await process.stdout.readline())
                control = httpx.AsyncClient(base_url=line["control_url"], timeout=PATIENCE_S)
                await stack.enter_async_context(control)
                panels.append(Remote(line["version"], line["url"], control))
        yield panels


async def _start(version: str, count: int, password: str, seed: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator", "--version", version, "--count", str(count),
        "--seed", str(seed), "--username", "keeper", "--password", password,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()
