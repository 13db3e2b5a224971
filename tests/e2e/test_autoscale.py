"""The fleet grows and shrinks by itself: the shipped script stands in the operator's place.

Webhook -> manifest -> fill -> drain -> removal, with nobody at the keyboard but whoever sells keys.
"""

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager

import httpx

from tests.e2e.operator import ROOT
from tests.e2e.service import serving, until
from tests.integration.runtime.serving import eventually

SECRET = "a-secret-of-the-webhook"
SCRIPT = ROOT / "examples" / "autoscale" / "autoscale.py"
TARIFF = """\
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: month-nl}
spec:
  title: {ru: "Месяц", en: "Month"}
  days: 30
  nodes: {selector: {country: nl}, count: 1}
"""
POLICY = """\
apiVersion: x3fleet/v1
kind: Policy
metadata: {name: default}
spec:
  resync: 15s
  guards: {deletes: {floor: 100}, fleetDeletes: {share: 1}}
  scaling: {label: country, headRoom: 0.2, spare: 0.5, outAfter: 1s, inAfter: 1s}
"""
NODE = """\
apiVersion: x3fleet/v1
kind: Node
metadata:
  name: %s
  labels: {country: nl}
spec:
  panel:
    url: %s
    auth: {token: {env: PANEL_TOKEN}}
  capacity: {keys: 10}
  drain: false
"""
QUICK = {
    "X3FLEET_SYNC__EVERY_S": "1",
    "X3FLEET_CONTROLLER__ALERTS__EVERY_S": "1",
    "X3FLEET_CONTROLLER__ALERTS__RECOVER_S": "1",
    "X3FLEET_CONTROLLER__WEBHOOKS__SECRET": SECRET,
}


@asynccontextmanager
async def standing_in(fleet, spares):
    """Run the shipped script; gives its address and the lines that it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), str(fleet), str(spares), "--port", "0",
        env={"WEBHOOK_SECRET": SECRET}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said = []

    async def listen():
        while line := await process.stdout.readline():
            said.append(line.decode().strip())

    reader = asyncio.create_task(listen())
    try:
        await until(lambda: said)
        yield f"http://127.0.0.1:{said.pop(0).removeprefix('listening on ')}/", said
    finally:
        process.terminate()
        await process.wait()
        await reader


async def keys_by_node(operator):
    listed = await operator.ask("keys", "list")
    found = {}
    for key in listed["keys"]:
        for node in key["nodes"]:
            found.setdefault(node, []).append(key["key"])
    return found


async def test_a_group_gets_a_node_fills_it_and_gives_one_back(operator, start_panel, tmp_path):
    first, second = await start_panel("3.6.0"), await start_panel("3.2.8", seed=1)
    fleet, spares = tmp_path / "fleet", tmp_path / "spare.json"
    fleet.mkdir()
    for name, text in (
        ("tariff", TARIFF),
        ("policy", POLICY),
        ("nl-1", NODE % ("nl-1", first.url)),
    ):
        (fleet / f"{name}.yaml").write_text(text)
    spare = {
        "group": "country=nl", "name": "nl-2", "url": second.url, "token": "PANEL_TOKEN",
        "address": "nl2.example.net", "keys": 10,
    }  # fmt: skip
    spares.write_text(json.dumps([spare]))
    await operator.ask("db", "upgrade")
    operator.settings["X3FLEET_SYNC__DIRECTORY"] = str(fleet)

    async with standing_in(fleet, spares) as (url, said):
        hooks = json.dumps([url])
        async with serving(operator, "run", X3FLEET_CONTROLLER__WEBHOOKS__URLS=hooks, **QUICK):
            # Nine of ten places are taken: the group asks for a node, and gets it.
            await declared(operator, "nl-1")
            assert 401 == await forge(url, {"alert": "capacity/country=nl/scale_out"})
            await operator.ask("keys", "issue", "--tariff", "month-nl", "--count", "9")
            await until(lambda: len(first.emails) == 9)
            await until(lambda: "declared nl-2" in said)
            await declared(operator, "nl-1", "nl-2")
            # The new node fills with what is sold from now on.
            await operator.ask("keys", "issue", "--tariff", "month-nl", "--count", "5")
            await until(lambda: len(second.emails) == 5)
            asked_once = [line for line in said if line.startswith("declared")]
            # Customers leave: half of one node would be enough for all.
            where = await keys_by_node(operator)
            await operator.ask("keys", "revoke", *where["nl-1"][:7], *where["nl-2"][:2])
            await until(lambda: "draining nl-1" in said)
            await until(lambda: (first.emails, len(second.emails)) == ([], 5))
            await until(lambda: "removed nl-1" in said)
            await declared(operator, "nl-2")
            left = await operator.ask("capacity")
            told = await operator.ask("notifications", "list")

    assert ["declared nl-2"] == asked_once
    assert [("country=nl", 5, 10)] == [
        (group["group"], group["keys"], group["capacity"]) for group in left["groups"]
    ]
    firing = [one["reason"] for one in told["notifications"] if one["state"] == "firing"]
    assert ["scale_out", "scale_in", "remove"] == [
        r for r in reversed(firing) if r != "Unreachable"
    ]


async def forge(url, message):
    """Send the script what nobody signed; gives the status of its answer."""
    body = {"condition": "Capacity", "state": "firing", "reason": "scale_out", **message}
    headers = {
        "X-X3fleet-Timestamp": str(int(time.time())),
        "X-X3fleet-Signature": "sha256=" + 64 * "0",
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.post(url, json=body, headers=headers)).status_code


async def declared(operator, *names):
    """Wait until exactly these nodes are declared."""

    async def found():
        run = await operator.run("nodes", "list", "--output", "json")
        return run.code == 0 and [one["node"] for one in run.document["nodes"]] == [*names]

    await eventually(found)
