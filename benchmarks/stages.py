"""The measurements: creating, doing nothing, growing, rotating and disabling.

Each returns rows of the table. Callers: `__main__`.
"""

import asyncio
import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import orjson
import py3xui

from benchmarks.fleet import NODE, Bench, open_bench
from benchmarks.panels import Raw, Target, open_raw
from benchmarks.recorder import Recording, recording


@dataclass(frozen=True)
class Row:
    """One line of the table: what, ours, against what, the ratio and its goal."""

    panel: str
    what: str
    ours: str
    against: str
    ratio: str
    goal: str


def row(panel: str, what: str, ours_s: float, other: tuple[str, float], goal: str) -> Row:
    """Make a row of two times; the ratio is ours to theirs."""
    name, seconds = other
    ratio = f"{ours_s / seconds:.2f}x"
    return Row(panel, what, f"{ours_s:.3f} s", f"{name} {seconds:.3f} s", ratio, goal)


async def writing(target: Target, count: int, looped: int, ports: tuple[int, int]) -> list[Row]:
    """(a) and (d): create, rotate and disable `count` keys; the loop creates `looped`."""
    async with open_raw(target) as raw:
        ours, theirs = await raw.add_inbound(ports[0]), await raw.add_inbound(ports[1])
        try:
            return await _write(raw, count, looped, ports[0], (ours, theirs))
        finally:
            await _clear(raw, ours)
            await _clear(raw, theirs)
            await raw.drop_inbound(ours)
            await raw.drop_inbound(theirs)


async def _write(
    raw: Raw, count: int, looped: int, port: int, inbounds: tuple[int, int]
) -> list[Row]:
    recorded: list[tuple[str, float, Recording]] = []
    async with open_bench(raw.target, port) as bench:
        await bench.issue(count)
        recorded.append(await _record(bench, raw.target, "create", count))
        await bench.rotate()
        recorded.append(await _record(bench, raw.target, "rotate", count))
        await bench.suspend()
        recorded.append(await _record(bench, raw.target, "disable", count))
    await _clear(raw, inbounds[0])
    rows = []
    loop_name, loop_s = await _loop(raw, inbounds[1], looped)
    loop_s *= count / looped
    for what, ours_s, kept in recorded:
        floor_s = await kept.replay(raw)
        if what == "create":
            rows.append(
                Row(
                    raw.target.name,
                    f"(a) create {count}",
                    f"{ours_s:.3f} s",
                    f"{loop_name} {loop_s:.1f} s",
                    f"{loop_s / ours_s:.0f}x faster",
                    "100x on 3.2.8+, 50x on 2.x",
                )
            )
        goal = "at most 1.3x" if what == "create" else "at most 1.5x"
        letter = "(a)" if what == "create" else "(d)"
        title = f"{letter} {what} {count}, {kept.writes} writes"
        rows.append(row(raw.target.name, title, ours_s, ("floor", floor_s), goal))
    return rows


async def _record(
    bench: Bench, target: Target, what: str, count: int
) -> tuple[str, float, Recording]:
    with recording(target.url) as kept:
        timed = await bench.reconcile()
    verified = timed.report.totals["verified"]
    if verified != count or not timed.report.in_sync:
        raise SystemExit(f"{target.name}: {what}: {verified} of {count} verified")
    return what, timed.wall_s, kept


async def _loop(raw: Raw, inbound: int, count: int) -> tuple[str, float]:
    """One request a key: py3xui where it can speak to the panel, httpx elsewhere."""
    clients = [
        {
            "id": f"00000000-0000-4000-8000-{i:012d}",
            "email": f"loop-{i}",
            "enable": True,
            "limitIp": 0,
            "totalGB": 0,
            "expiryTime": 0,
            "tgId": 0,
            "subId": f"loop{i:012d}",
            "reset": 0,
            "flow": "",
            "comment": "",
        }
        for i in range(count)
    ]
    if raw.family == 3 and not raw.target.token:
        return await asyncio.to_thread(_loop_py3xui, raw.target, inbound, clients)
    started = time.perf_counter()
    for client in clients:
        if raw.family == 3:
            body = {"client": client, "inboundIds": [inbound]}
            await raw.call("POST", "panel/api/clients/add", body)
        else:
            body = {"id": inbound, "settings": json.dumps({"clients": [client]})}
            await raw.call("POST", "panel/api/inbounds/addClient", body)
    return "httpx loop", time.perf_counter() - started


def _loop_py3xui(target: Target, inbound: int, clients: list[dict[str, Any]]) -> tuple[str, float]:
    api = py3xui.Api(target.url, target.username, target.password)
    api.login()
    made = [py3xui.Client(**client) for client in clients]
    started = time.perf_counter()
    for client in made:
        api.client.add(inbound, [client])
    return "py3xui loop", time.perf_counter() - started


async def _clear(raw: Raw, inbound: int) -> None:
    """Delete every client of an inbound, as far as its version lets us."""
    emails = await raw.emails_in(inbound)
    if raw.family == 3:
        for start in range(0, len(emails), 1000):
            some = emails[start : start + 1000]
            answer = await raw.http.post(
                raw.target.url + "panel/api/clients/bulkDel", json={"emails": some}
            )
            if answer.status_code != 200:
                for email in some:
                    await _delete(raw, email)
        return
    listed = await raw.call("GET", "panel/api/inbounds/list")
    found = next(one for one in listed if one["id"] == inbound)
    found["settings"] = json.dumps({**json.loads(found["settings"]), "clients": []})
    await raw.call("POST", f"panel/api/inbounds/update/{inbound}", found)


async def _delete(raw: Raw, email: str) -> None:
    await raw.call("POST", f"panel/api/clients/del/{quote(email)}")


async def idle(target: Target, count: int, port: int) -> list[Row]:
    """(b): a converged node's turn against decoding the same lists with the fastest parser."""
    async with open_raw(target) as raw:
        inbound = await raw.add_inbound(port)
        try:
            async with open_bench(target, port) as bench:
                await bench.issue(count)
                await bench.reconcile()
                await bench.reconcile()
                own, bodies = await _idle_turns(bench, target)
            decode_s, parser = _fastest(bodies)
            title = f"(b) no-op turn over {count}, own CPU"
            return [row(target.name, title, own, (parser, decode_s), "at most 3x")]
        finally:
            await _clear(raw, inbound)
            await raw.drop_inbound(inbound)


async def _idle_turns(bench: Bench, target: Target) -> tuple[float, list[bytes]]:
    best, bodies = float("inf"), []
    for _ in range(5):
        with recording(target.url) as kept:
            gc.collect()
            cpu = time.process_time()
            turn = await bench.controller.worker.turn(NODE)
            own = time.process_time() - cpu
        if turn.result is None or turn.result.writes:
            raise SystemExit(f"{target.name}: the node was not converged")
        best, bodies = min(best, own), kept.bodies()
    return best, bodies


def _fastest(bodies: list[bytes]) -> tuple[float, str]:
    parsers: dict[str, Callable[[bytes], object]] = {
        "orjson": orjson.loads,
        "msgspec": msgspec.json.decode,
    }
    times = {}
    for name, parse in parsers.items():
        spans = []
        for _ in range(7):
            gc.collect()
            started = time.process_time()
            for body in bodies:
                _decode(parse, body)
            spans.append(time.process_time() - started)
        times[name] = min(spans)
    name = min(times, key=lambda n: times[n])
    return times[name], name


def _decode(parse: Callable[[bytes], object], body: bytes) -> None:
    """Decode one list, and up to 3.0.2 the settings that it nests as text."""
    decoded = parse(body)
    if isinstance(decoded, dict) and isinstance(decoded.get("obj"), list):
        for one in decoded["obj"]:
            if isinstance(one, dict) and isinstance(one.get("settings"), str):
                parse(one["settings"].encode())


async def growing(target: Target, counts: tuple[int, ...], port: int) -> list[Row]:
    """(c): our own CPU per key while creating, at growing sizes, each on an empty inbound."""
    rows, first = [], 0.0
    for number, count in enumerate(counts):
        async with open_raw(target) as raw:
            inbound = await raw.add_inbound(port + number)
            async with open_bench(target, port + number) as bench:
                await bench.issue(count)
                timed = await bench.reconcile()
                if timed.report.totals["verified"] != count:
                    raise SystemExit(f"{target.name}: {count} keys did not converge")
            own_us = timed.cpu_s / count * 1e6
            first = first or own_us
            rows.append(
                Row(
                    target.name,
                    f"(c) own CPU per key at {count}",
                    f"{own_us:.0f} us",
                    f"at {counts[0]}: {first:.0f} us",
                    f"{own_us / first:.2f}x",
                    "within 1.3x",
                )
            )
            await raw.http.post(f"{target.url}panel/api/inbounds/{inbound}/delAllClients")
            await raw.drop_inbound(inbound)
    return rows
