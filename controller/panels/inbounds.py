"""One write of a declared inbound: read what is there now, then exactly one POST. Never raises.

An edit or a delete is sent only if a look of this very moment shows the inbound that it was decided from,
with the clients that its settings hold; so no client is lost to a list that is a second old. Called by
`panel`. Not here: whether to write at all (`controller.core`), what an answer means (`api.outcomes`).
"""

from base64 import b64encode
from secrets import token_bytes, token_hex
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from controller.core.effects import InboundWrite, Outcome, Verb, Verdict, Write
from controller.core.features import Family, Features
from controller.core.observed import ObservedInbound
from controller.panels.act import LIMIT_BYTES
from controller.panels.api.envelope import parse_envelope
from controller.panels.api.errors import PanelError
from controller.panels.api.session import PanelApi
from controller.panels.dialects.choose import dialect_of
from controller.panels.dialects.dialect import Sight
from controller.panels.wire import inbound_writes as wire
from controller.panels.wire.writes import Body
from desired_state.model.credentials import PASSWORD_BYTES
from desired_state.model.inbound import InboundSpec

_HOME = "panel/api/inbounds"
_KEYS = "server/getNewX25519Cert"
_LEGACY_PASSWORD_BYTES = 32
_SHORT_ID_BYTES = 8


class _KeyPair(BaseModel):
    """What the panel's Xray makes for Reality: 32 bytes each, in base64 for URLs."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    private_key: str = Field(alias="privateKey", min_length=43, max_length=44)
    public_key: str = Field(alias="publicKey", min_length=43, max_length=44)


class _Changed(Exception):
    """What is there is not what the write was decided from; says what, without secrets."""


async def act_on_inbound(api: PanelApi, write: Write, features: Features) -> Outcome:
    """Add, edit or drop one inbound.

    Args:
        api: of the node.
        write: with `inbound`.
        features: of the version that the look found which the write was decided from.

    Returns:
        `REJECTED` also where nothing was sent because the panel could not be asked or shows otherwise by
        now: the look that follows tells.
    """
    change = write.inbound
    if change is None:
        return Outcome(Verdict.REJECTED, f"{write.verb} without an inbound")
    try:
        path, body, secrets = await _call(api, write.verb, change, features)
    except PanelError as error:
        return Outcome(Verdict.REJECTED, f"the panel could not be asked: {error.message}")
    except _Changed as found:
        return Outcome(Verdict.REJECTED, str(found))
    content = None if body is None else to_json(body)
    if content is not None and len(content) > LIMIT_BYTES:
        cause = f"the inbound has {len(content)} bytes, and panels take {LIMIT_BYTES}"
        return Outcome(Verdict.REJECTED, cause)
    answer = await api.write(path, content=content, secrets=secrets)
    return Outcome(
        verdict=answer.verdict,
        cause=answer.cause,
        duration_s=answer.duration_s,
        sent_bytes=answer.sent_bytes,
    )


async def _call(
    api: PanelApi, verb: Verb, change: InboundWrite, features: Features
) -> tuple[str, Body | None, tuple[str, ...]]:
    """Say path, body and secrets of the one POST."""
    spec, seen = change.spec, change.seen
    if verb is Verb.ADD_INBOUND:
        secrets = await _make_secrets(api, spec, features)
        body = wire.new_inbound(spec, secrets, calls_it_hysteria=features.calls_it_hysteria)
        return f"{_HOME}/add", body, secrets.hidden
    if seen is None:
        raise _Changed("nothing was seen that could be changed")
    sight = await dialect_of(features).look(api, features)
    _check_same(sight, seen)
    if verb is Verb.DROP_INBOUND:
        _check_empty(sight, seen, change.emails)
        return f"{_HOME}/del/{seen.id}", None, ()
    held = await _read(api, seen)
    entries = wire.entries_of(held)
    clients = {c.email: c for c in sight.clients if seen.id in c.inbound_ids}
    emails = [str(entry.get("email") or "") for entry in entries]
    if sorted(emails) != sorted(clients):
        raise _Changed(
            f"the panel's two lists of the clients of inbound {seen.id} disagree: nothing was changed"
        )
    served = None if features.family is Family.V2 else wire.as_served(entries, clients)
    secrets = wire.ServerSecrets()
    if spec.reality is not None and not wire.has_private_key(held):
        secrets = await _make_secrets(api, spec, features)
    body = wire.edited_inbound(spec, held, secrets, served)
    return f"{_HOME}/update/{seen.id}", body, (*secrets.hidden, *wire.secrets_in(held))


async def _make_secrets(api: PanelApi, spec: InboundSpec, features: Features) -> wire.ServerSecrets:
    if spec.protocol == "shadowsocks":
        size = PASSWORD_BYTES.get(spec.method) or _LEGACY_PASSWORD_BYTES
        return wire.ServerSecrets(password=b64encode(token_bytes(size)).decode())
    if spec.reality is None:
        return wire.ServerSecrets()
    if features.has_server_api:
        answer = await api.read("GET", f"panel/api/{_KEYS}")
    else:
        answer = await api.read("POST", _KEYS)
    pair = parse_envelope(answer, _KeyPair).obj
    if pair is None:
        raise _Changed("the panel made no keys for Reality: is its Xray there?")
    return wire.ServerSecrets(
        private_key=pair.private_key,
        public_key=pair.public_key,
        short_ids=tuple(token_hex(_SHORT_ID_BYTES) for _ in range(spec.reality.short_ids)),
    )


async def _read(api: PanelApi, seen: ObservedInbound) -> dict[str, Any]:
    answer = await api.read("GET", f"{_HOME}/get/{seen.id}")
    held = parse_envelope(answer, dict[str, Any]).obj
    if held is None or (held.get("id"), held.get("port")) != (seen.id, seen.port):
        raise _Changed(f"inbound {seen.id} was changed meanwhile: nothing was written")
    return held


def _check_same(sight: Sight, seen: ObservedInbound) -> None:
    now = next((one for one in sight.inbounds if one.id == seen.id), None)
    if now is None or _traits(now) != _traits(seen):
        raise _Changed(f"inbound {seen.id} is another one by now: nothing was written")


def _traits(inbound: ObservedInbound) -> tuple[object, ...]:
    return inbound.protocol, inbound.port, inbound.tag, inbound.remark


def _check_empty(sight: Sight, seen: ObservedInbound, emails: frozenset[str]) -> None:
    on_it = {c.email.lower() for c in sight.clients if seen.id in c.inbound_ids}
    now = next(one for one in sight.inbounds if one.id == seen.id)
    if on_it - emails or now.nameless_clients:
        raise _Changed(f"inbound {seen.id} holds clients by now: it was not deleted")
