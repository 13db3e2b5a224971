"""`x3fleet replicas list`: which controllers work on this database, and what each of them holds.

Not here: SQL (`desired_state.queries`), leases (`controller.runtime.leases`).
"""

from typing import TYPE_CHECKING, Any

from cli.exits import Exit
from cli.opening import opened_store
from cli.render import Block, Cell, Grid, Output, OutputOption, Page, Text, Tone, ago, count, show

if TYPE_CHECKING:
    from datetime import datetime

    from desired_state.queries.replicas import LeaseView, Replicas, ReplicaView

_TONES = {"live": Tone.GOOD, "late": Tone.WARN, "dead": Tone.BAD, "left": Tone.DIM}


async def list_replicas(*, output: OutputOption = Output.TABLE) -> Exit:
    """List controllers: who lives, who leads, which nodes each one holds."""
    from desired_state.queries.replicas import list_replicas as read_replicas

    async with opened_store() as store, store.reading() as session:
        now = store.clock.now()
        found = _as_running(await read_replicas(session, now))
    blocks: list[Block] = [
        Grid(
            ("REPLICA", "KIND", "STATE", "LEADS", "NODES", "HOST", "PID", "UP", "LEASE"),
            tuple(_row(replica, now) for replica in found.replicas),
            empty="no controller has worked on this database; x3fleet controller starts one",
        )
    ]
    if found.unheld and found.replicas:
        names = ", ".join(found.unheld[:10]) + (", ..." if len(found.unheld) > 10 else "")
        blocks.append(
            Text(f"{count(len(found.unheld), 'node')} held by nobody: {names}", Tone.WARN)
        )
    document = {
        "replicas": [_document(replica) for replica in found.replicas],
        "leases": [_lease(lease) for lease in found.leases],
        "unheld": list(found.unheld),
    }
    show(Page(document, tuple(blocks)), output)
    return Exit.DONE


def _as_running(found: "Replicas") -> "Replicas":
    """Correct what was killed under a file's lock: its row says `live` until the next start."""
    from dataclasses import replace

    replicas = tuple(
        replace(replica, state="dead", leads=False, nodes=(), expires_in_s=None)
        if replica.state == "live" and replica.expires_in_s is None and _is_over(replica)
        else replica
        for replica in found.replicas
    )
    working = {node for replica in replicas if replica.state == "live" for node in replica.nodes}
    every = set(found.unheld).union(*(replica.nodes for replica in found.replicas))
    return replace(found, replicas=replicas, unheld=tuple(sorted(every - working)))


def _is_over(replica: "ReplicaView") -> bool:
    """Whether its process is known to have ended; of another machine's nothing is known."""
    import os
    import socket

    if replica.host != socket.gethostname():
        return False
    try:
        os.kill(replica.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _row(replica: "ReplicaView", now: "datetime") -> tuple[Cell, ...]:
    left = replica.expires_in_s
    is_up = replica.state in ("live", "late")
    return (
        replica.id,
        replica.kind,
        Text(replica.state, _TONES.get(replica.state, Tone.PLAIN)),
        "yes" if replica.leads else "",
        str(len(replica.nodes)) if is_up else "",
        replica.host,
        str(replica.pid),
        ago(replica.started_at, now) if is_up else "",
        "lock" if is_up and left is None else "" if left is None else f"{max(0, int(left))} s left",
    )


def _document(replica: "ReplicaView") -> dict[str, Any]:
    return {
        "id": replica.id,
        "kind": replica.kind,
        "state": replica.state,
        "leads": replica.leads,
        "nodes": list(replica.nodes),
        "host": replica.host,
        "pid": replica.pid,
        "started_at": replica.started_at,
        "expires_in_s": replica.expires_in_s,
        "ended_at": replica.ended_at,
    }


def _lease(lease: "LeaseView") -> dict[str, Any]:
    return {
        "node": lease.node,
        "holder": lease.holder,
        "epoch": lease.epoch,
        "taken_at": lease.taken_at,
        "removes_at": lease.removes_at,
    }
