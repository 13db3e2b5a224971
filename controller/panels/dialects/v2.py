"""2.3.15 to 3.0.2: clients are entries of an inbound's settings, written one inbound at a time.

One list shows everything. Several clients go into one create; every other write is of one client,
and addresses it by its protocol's credential (a delete by email from 2.8.0 on). Callers: by way of
`Dialect`. Not here: 3.0.x's own sessions (`controller.panels.api`).
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

from pydantic_core import to_json

from controller.core.effects import (
    ClientRecord,
    MemberResult,
    MemberVerdict,
    ObservedRecord,
    Verb,
    Write,
)
from controller.core.features import Features
from controller.core.observed import CLIENT_PROTOCOLS, ObservedClient, ObservedInbound
from controller.panels.api.envelope import Answer, parse_envelope
from controller.panels.api.errors import PanelBusy, PanelContractBroken
from controller.panels.api.paths import segment
from controller.panels.api.session import PanelApi
from controller.panels.dialects.dialect import Call, Impossible, SharedKeys, Sight
from controller.panels.wire import writes
from controller.panels.wire.clients import TrafficRow, clients_of_entries
from controller.panels.wire.inbounds import StringInbound, decode_object, observe_inbound
from controller.panels.wire.typed import read_inbounds
from desired_state.model.ids import InboundId

_LIST = "panel/api/inbounds/list"
_ADD = "panel/api/inbounds/addClient"
_UPDATE = "panel/api/inbounds/updateClient"
_RESTART = "server/restartXrayService"
RESTART_BELOW_API = f"panel/api/{_RESTART}"
LARGE_BYTES = 1_000_000
"""About 2,000 clients: above it, decoding would hold up the other nodes of this process."""
# QUIRK(localised-messages, 3x-ui all versions): the sentence around an error comes in the language of
# whoever asked last; only the error inside it stays English, and even that is only a hint.
_ABSENT = ("client not found in inbound for id", "client with email")
"""In a refused delete of what is not there (2.9.4 on; by email 2.8.0 on)."""
_ROWLESS = "inbound not found for email"
"""In a refused delete by email of what was found and has no traffic row (see `controller.core.ladder`)."""


class DialectV2:
    """See `Dialect`."""

    async def look(self, api: PanelApi, features: Features) -> Sight:  # noqa: ARG002 - a role
        """One GET."""
        answer = await api.read("GET", _LIST, gzip=True)
        if len(answer.body) > LARGE_BYTES:
            return await asyncio.to_thread(_see, answer)
        return _see(answer)

    def call(self, write: Write, features: Features, shared_keys: SharedKeys) -> Call | Impossible:
        """Creates take many clients of one inbound; the rest takes one."""
        if write.verb is Verb.RESTART:
            return Call(RESTART_BELOW_API if features.has_server_api else _RESTART)
        if write.verb is Verb.CREATE:
            return _create(write, features)
        if len(write.members) != 1:
            return Impossible(f"this version has no call to {write.verb} several clients")
        match write.verb:
            case Verb.UPDATE | Verb.ENABLE | Verb.DISABLE:
                return _update(write, features, shared_keys)
            case Verb.DELETE:
                return _delete(write, features, shared_keys)
            case _:
                return Impossible(f"this version has no call to {write.verb} a client")

    def refused(self, write: Write, cause: str) -> tuple[MemberResult, ...]:
        """A delete of what is not there is refused from 2.9.4 on, by email from 2.8.0 on."""
        if write.verb is not Verb.DELETE:
            return ()
        email = write.members[0].email
        if any(text in cause.lower() for text in _ABSENT):
            return (MemberResult(email, MemberVerdict.ABSENT, cause),)
        if _ROWLESS in cause.lower():
            return (MemberResult(email, MemberVerdict.PRESENT, cause),)
        return ()

    def members(self, write: Write, body: bytes) -> tuple[MemberResult, ...]:  # noqa: ARG002 - a role
        """A create of several is all or nothing."""
        return ()


def _see(answer: Answer) -> Sight:
    typed = read_inbounds(answer.body)
    if typed is None:
        return _sight(answer, _see_carefully(answer))
    return _sight(
        answer,
        [
            (
                observe_inbound(t.inbound, t.settings, decode_object(t.inbound.stream), t.nameless),
                t.clients,
            )
            for t in typed
        ],
    )


def _see_carefully(answer: Answer) -> list[tuple[ObservedInbound, list[ObservedClient]]]:
    listed = cast(
        "list[StringInbound] | None",
        parse_envelope(answer, cast("type[Any]", list[StringInbound])).obj,
    )
    if listed is None:
        raise PanelBusy(answer.node, answer.operation, "the panel answered without a list")
    rows = {row["email"]: row for inbound in listed for row in inbound.rows or ()}
    return [_see_inbound(answer, inbound, rows) for inbound in listed]


def _sight(answer: Answer, seen: list[tuple[ObservedInbound, list[ObservedClient]]]) -> Sight:
    return Sight(
        answers=(answer,),
        inbounds=tuple(sorted((inbound for inbound, _ in seen), key=lambda i: i.id)),
        clients=by_email(client for _, clients in seen for client in clients),
        shared_keys=frozenset(
            (inbound.id, key) for inbound, clients in seen for key in _shared(inbound, clients)
        ),
    )


def _shared(inbound: ObservedInbound, clients: list[ObservedClient]) -> set[str]:
    field = _KEY_FIELDS.get(inbound.protocol, "uuid")
    keys = [getattr(client, field) for client in clients]
    if len(set(keys)) == len(keys):
        return set()
    named = {(key, client.email) for key, client in zip(keys, clients, strict=True)}
    return {key for key, count in Counter(key for key, _ in named).items() if count > 1}


def by_email(clients: Iterable[ObservedClient]) -> tuple[ObservedClient, ...]:
    """Put clients into one order, whatever order the panel answered in."""
    return tuple(sorted(clients, key=lambda c: (c.email, c.inbound_ids)))


def _see_inbound(
    answer: Answer, inbound: StringInbound, rows: dict[str, TrafficRow]
) -> tuple[ObservedInbound, list[ObservedClient]]:
    settings = decode_object(inbound.settings)
    if settings is None:
        _check_empty(answer, inbound)
    entries = None if settings is None else settings.pop("clients", None)
    clients, nameless = clients_of_entries(entries or (), InboundId(inbound.id), rows)
    stream = decode_object(inbound.stream)
    return observe_inbound(inbound, settings, stream, nameless), clients


def _check_empty(answer: Answer, inbound: StringInbound) -> None:
    if inbound.settings and inbound.protocol in CLIENT_PROTOCOLS:
        # Clients may hide in what cannot be read, and absence must not be concluded from it.
        raise PanelContractBroken(
            answer.node,
            answer.operation,
            f"the settings of inbound {inbound.id} ({inbound.protocol}) cannot be read",
            hint="repair or delete that inbound on the panel",
        )


def _create(write: Write, features: Features) -> Call | Impossible:
    inbounds = {write.inbound_id, *(i for m in write.members for i in m.inbound_ids)} - {None}
    if len(inbounds) != 1:
        return Impossible("clients of several inbounds cannot be created in one call")
    clients = [writes.entry(member, has_comment=features.has_comment) for member in write.members]
    return Call(_ADD, _body(inbounds.pop(), clients))


def _update(write: Write, features: Features, shared_keys: SharedKeys) -> Call | Impossible:
    member, inbound = write.members[0], _inbound(write)
    key = _key(member, inbound, shared_keys)
    if inbound is None or key is None or member.current is None:
        return _unaddressable(member)
    client = writes.updated_entry(
        member, member.current.raw or {}, has_comment=features.has_comment
    )
    return Call(f"{_UPDATE}/{segment(key)}", _body(inbound, [client]))


def _delete(write: Write, features: Features, shared_keys: SharedKeys) -> Call | Impossible:
    member, inbound = write.members[0], _inbound(write)
    email = member.current.email if member.current is not None else member.email
    by_email = features.deletes_by_email and not member.unnamed
    if by_email and inbound is not None and _fits_path(email):
        # QUIRK(delete-says-success, 3x-ui 2.3.15 to 2.9.3): a delete by credential answers success
        # also where nobody has it, and takes every client that does. By email it is exact, honest
        # and alike for every protocol.
        return Call(f"panel/api/inbounds/{inbound}/delClientByEmail/{segment(email)}")
    key = _key(member, inbound, shared_keys)
    if inbound is None or key is None:
        return _unaddressable(member)
    return Call(f"panel/api/inbounds/{inbound}/delClient/{segment(key)}")


def _body(inbound: object, clients: list[writes.Body]) -> dict[str, object]:
    return {"id": inbound, "settings": to_json({"clients": clients}).decode()}


def _inbound(write: Write) -> InboundId | None:
    if write.inbound_id is not None:
        return write.inbound_id
    ids = write.members[0].inbound_ids
    return ids[0] if len(ids) == 1 else None


def _key(member: ClientRecord, inbound: InboundId | None, shared_keys: SharedKeys) -> str | None:
    """What the panel finds the present client by; None when no path can hold it, or it is shared."""
    held: ClientRecord | ObservedRecord = member.current or member
    key = str(getattr(held, _KEY_FIELDS.get(member.protocol, "uuid")))
    # QUIRK(first-with-the-key, 3x-ui 2.3.15 to 3.0.2): an update takes the first entry that has the
    # credential, a delete takes all of them, whatever their emails are.
    return key if _fits_path(key) and (inbound, key) not in shared_keys else None


_KEY_FIELDS = {
    "trojan": "password",
    "shadowsocks": "email",
    "hysteria": "auth",
    "hysteria2": "auth",
}
"""By protocol; every other one is addressed by its UUID."""


def _fits_path(key: str) -> bool:
    # QUIRK(slash-in-path, 3x-ui all versions): panels match the decoded path, so a slash in an
    # email or a trojan password finds no client, escaped or not. Credentials of ours never hold
    # one.
    return bool(key) and "/" not in key


def _unaddressable(member: ClientRecord) -> Impossible:
    return Impossible(
        f"{member.email} cannot be addressed: its inbound is not known, or what the panel knows "
        "it by is empty, holds a slash, or is another client's too"
    )
