"""Declared inbounds on a panel in memory: added, edited and dropped as a version does it.

Callers: `panel`. As the real writer does, an edit and a delete first look whether what is there is still
what they were decided from. Not here: clients.
"""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from controller.core.effects import InboundWrite, Outcome, Verb, Verdict, Write
from controller.core.inbound_facts import declared_document, lay_over
from controller.core.observed import ObservedInbound
from desired_state.model.credentials import PASSWORD_BYTES
from desired_state.model.ids import InboundId
from desired_state.model.inbound import InboundSpec

if TYPE_CHECKING:
    from tests.fakes.panel import FakePanel

TAGS_SINCE = (3, 0, 0)
"""Before, a panel makes every tag of the port."""


def apply_inbound(panel: "FakePanel", write: Write) -> Outcome:
    """Do one write of a declared inbound, and answer as this version answers."""
    change = write.inbound
    assert change is not None
    if write.verb is Verb.ADD_INBOUND:
        return _add(panel, change.spec)
    now = None if change.seen is None else panel.inbounds.get(change.seen.id)
    if now is None or change.seen is None or _traits(now) != _traits(change.seen):
        return Outcome(Verdict.REJECTED, cause="it is another one by now")
    if write.verb is Verb.EDIT_INBOUND:
        return _edit(panel, now, change.spec)
    return _drop(panel, now, change)


def _traits(inbound: ObservedInbound) -> tuple[object, ...]:
    return inbound.protocol, inbound.port, inbound.tag, inbound.remark


def _add(panel: "FakePanel", spec: InboundSpec) -> Outcome:
    if any(one.port == spec.port for one in panel.inbounds.values()):
        return Outcome(Verdict.REJECTED, cause=f"Port already exists: {spec.port}")
    bare = ObservedInbound(
        id=panel.next_inbound(), protocol=spec.protocol, port=spec.port, method=spec.method,
        password_bytes=PASSWORD_BYTES.get(spec.method),
        stream='{"realitySettings": {"privateKey": "kept"}}',
    )  # fmt: skip
    panel.set_inbound(_laid(panel, bare, spec))
    panel.own_inbounds |= {bare.id}
    panel.added[spec.name] += 1
    return Outcome(Verdict.APPLIED)


def _edit(panel: "FakePanel", now: ObservedInbound, spec: InboundSpec) -> Outcome:
    if any(one.port == spec.port and one.id != now.id for one in panel.inbounds.values()):
        return Outcome(Verdict.REJECTED, cause=f"Port already exists: {spec.port}")
    panel.set_inbound(_laid(panel, now, spec))
    return Outcome(Verdict.APPLIED)


def _laid(panel: "FakePanel", held: ObservedInbound, spec: InboundSpec) -> ObservedInbound:
    stream = lay_over(declared_document(spec)["streamSettings"], json.loads(held.stream or "{}"))
    free = panel.version >= TAGS_SINCE
    return replace(
        held, port=spec.port, listen=spec.listen, remark=spec.remark, enable=spec.enable,
        tag=(held.tag or spec.tag) if free else f"inbound-{spec.port}", network=spec.network,
        security=spec.security, stream=json.dumps(stream),
    )  # fmt: skip


def _drop(panel: "FakePanel", now: ObservedInbound, change: InboundWrite) -> Outcome:
    on_it = [e.client for e in panel.entries.values() if now.id in e.client.inbound_ids]
    if any(client.email.lower() not in change.emails for client in on_it):
        return Outcome(Verdict.REJECTED, cause="it holds clients by now")
    panel.remove_inbound(InboundId(now.id))
    panel.dropped[change.spec.name] += 1
    return Outcome(Verdict.APPLIED)
