"""3.1.0 on: a client is a record, attached to inbounds; wide calls from 3.2.0, some from 3.4.1.

Three lists make a look: status, inbounds with the emails they hold, records with their attachments
and traffic. Callers: by way of `Dialect`. Not here: endpoints that act on clients which a call does
not name.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from controller.core.effects import ClientRecord, MemberResult, MemberVerdict, Verb, Write
from controller.core.features import Features
from controller.core.observed import ObservedClient
from controller.panels.api.envelope import Answer, Envelope, parse_envelope, shorten
from controller.panels.api.errors import PanelBusy
from controller.panels.api.masking import mask
from controller.panels.api.paths import segment
from controller.panels.api.session import PanelApi
from controller.panels.dialects.dialect import Call, Impossible, SharedKeys, Sight
from controller.panels.dialects.v2 import LARGE_BYTES, RESTART_BELOW_API, by_email
from controller.panels.wire import writes
from controller.panels.wire.answers import BulkAnswer, ServerStatus, Skipped
from controller.panels.wire.clients import clients_of_records, set_flow_known
from controller.panels.wire.inbounds import NestedInbound, SlimInbound
from controller.panels.wire.typed import read_records, read_slim_inbounds

_STATUS = "panel/api/server/status"
_INBOUNDS = "panel/api/inbounds/list/slim"
_CLIENTS = "panel/api/clients/list"
_WRITES = "panel/api/clients"

T = TypeVar("T")


class DialectV3:
    """See `Dialect`."""

    async def look(self, api: PanelApi, features: Features) -> Sight:
        """Three GETs; five when attachments and inbounds disagree."""
        status = await api.read("GET", _STATUS)
        sight = await _read_lists(api, features, status)
        if not sight.torn:
            return sight
        # The record list is several queries: a client deleted between them shows without
        # attachments.
        again = await _read_lists(api, features, status)
        return replace(again, answers=(*sight.answers, *again.answers[1:]))

    def call(
        self,
        write: Write,
        features: Features,
        shared_keys: SharedKeys,  # noqa: ARG002 - a role
    ) -> Call | Impossible:
        """One member: its own path. Several: the wide call, where the version has it."""
        if write.verb is Verb.RESTART:
            return Call(RESTART_BELOW_API)
        if unfit := next((m for m in write.members if not _fits_path(_spelling(m))), None):
            return Impossible(f"{unfit.email!r} cannot be addressed: it is empty or holds a slash")
        if len(write.members) == 1:
            return _single(write, features)
        if not _is_wide(write.verb, features):
            return Impossible(f"this version has no call to {write.verb} several clients")
        return _wide(write, features)

    def refused(self, write: Write, cause: str) -> tuple[MemberResult, ...]:
        """An unknown email: `record not found` on 3.1.0, a sentence of its own later."""
        if write.verb is not Verb.DELETE or len(write.members) != 1:
            return ()
        text = cause.lower()
        if "record not found" in text or "not found in any inbound" in text:
            return (MemberResult(write.members[0].email, MemberVerdict.ABSENT, cause),)
        return ()

    def members(self, write: Write, body: bytes) -> tuple[MemberResult, ...]:
        """Map `skipped` and `errors` back to our spelling of each email.

        A member may be skipped for its neighbour's fault, and be stored in part all the same.
        """
        # QUIRK(group-is-skipped, 3x-ui 3.2.8+): one conflict skips all new clients of its inbound,
        # each with the reason of the guilty one; so a reason is never taken for the member's own.
        if len(write.members) == 1:
            return ()
        try:
            answer = Envelope[BulkAnswer].model_validate_json(body).obj
        except ValidationError:
            return ()
        if answer is None:
            return ()
        is_attachment = write.verb in (Verb.ATTACH, Verb.DETACH)
        reason_of = _failures(answer) if is_attachment else _skips(answer)
        named = ((member, reason_of(_spelling(member).lower())) for member in write.members)
        return tuple(_result(member, reason) for member, reason in named if reason is not None)


async def _read_lists(api: PanelApi, features: Features, status: Answer) -> Sight:
    # Records last: between the two reads a new client may then only show in too many places, and
    # the records, from which the panel serves, are the ones that count.
    inbounds = await api.read("GET", _INBOUNDS, gzip=True)
    clients = await api.read("GET", _CLIENTS, gzip=True)
    if len(inbounds.body) + len(clients.body) > LARGE_BYTES:
        return await asyncio.to_thread(_see, features, (status, inbounds, clients))
    return _see(features, (status, inbounds, clients))


def _see(features: Features, lists: tuple[Answer, Answer, Answer]) -> Sight:
    status, inbounds, clients = lists
    listed = _inbounds_of(inbounds)
    records = _read_clients(features, clients, listed)
    # QUIRK(null-status, 3x-ui 3.1.0+): in its first seconds a panel answers `success` and null: it
    # has not looked at itself yet, which is no error and no lost identity.
    state = parse_envelope(status, ServerStatus).obj or ServerStatus()
    return Sight(
        answers=lists,
        inbounds=tuple(sorted((i.observe() for i in listed), key=lambda i: i.id)),
        clients=by_email(records),
        version=state.version,
        guid=state.guid,
        xray=state.xray.state,
        torn=_is_torn(listed, records),
        host=state.host,
    )


def _inbounds_of(answer: Answer) -> list[SlimInbound]:
    typed = read_slim_inbounds(answer.body)
    if typed is not None:
        return typed
    nested = _present(answer, parse_envelope(answer, list[NestedInbound]).obj)
    return [inbound.slim() for inbound in nested]


def _read_clients(
    features: Features, answer: Answer, inbounds: Iterable[SlimInbound]
) -> list[ObservedClient]:
    capable = frozenset(i.inbound.id for i in inbounds if i.can_carry_flow())
    if features.one_flow:
        capable = frozenset()
    clients = read_records(answer.body)
    if clients is None:
        clients = clients_of_records(_records_of(answer))
    _note_flows(clients, capable)
    return clients


def _records_of(answer: Answer) -> list[object]:
    # Decoded without a model: a validator that builds dictionaries takes twice as long.
    try:
        decoded = from_json(answer.body)
    except ValueError:
        decoded = None
    if isinstance(decoded, dict) and decoded.get("success") is True:
        listed = decoded.get("obj")
        if isinstance(listed, list):
            return listed
    # Whatever is wrong is said in the words of every other answer.
    return _present(answer, parse_envelope(answer, list[object]).obj)


def _present(answer: Answer, listed: list[T] | None) -> list[T]:
    if listed is None:
        raise PanelBusy(answer.node, answer.operation, "the panel answered without a list")
    return listed


def _is_torn(inbounds: Iterable[SlimInbound], records: Iterable[ObservedClient]) -> bool:
    """Whether an inbound holds a listed client that the list does not show there."""
    attached = {client.email: client.inbound_ids for client in records}
    return any(
        inbound.inbound.id not in attached.get(email or "", (inbound.inbound.id,))
        for inbound in inbounds
        for email in inbound.emails
    )


def _note_flows(records: list[ObservedClient], capable: frozenset[int]) -> None:
    # QUIRK(flow-of-the-last, 3x-ui 3.2.5+): the flow is kept for each attachment and blanked where
    # it cannot be; the record shows that of the inbound written last. So an empty one says nothing
    # of a client that is also attached where flows are blanked.
    if not capable:
        return
    mixed: dict[tuple[int, ...], bool] = {}
    for ids in {client.inbound_ids for client in records}:
        mixed[ids] = not capable.isdisjoint(ids) and not capable.issuperset(ids)
    known = (client.flow != "" or not mixed[client.inbound_ids] for client in records)
    set_flow_known(records, known)


_PATHS: dict[Verb, tuple[str, str]] = {
    Verb.CREATE: ("add", "bulkCreate"),
    Verb.DELETE: ("del/{}", "bulkDel"),
    Verb.UPDATE: ("update/{}", ""),
    Verb.ENABLE: ("update/{}", "bulkEnable"),
    Verb.DISABLE: ("update/{}", "bulkDisable"),
    Verb.ATTACH: ("{}/attach", "bulkAttach"),
    Verb.DETACH: ("{}/detach", "bulkDetach"),
}


def _is_wide(verb: Verb, features: Features) -> bool:
    match verb:
        case Verb.CREATE:
            return features.bulk_create
        case Verb.DELETE:
            return features.bulk_delete
        case Verb.ENABLE | Verb.DISABLE:
            return features.bulk_enable
        case Verb.ATTACH | Verb.DETACH:
            return features.bulk_attach
        case _:
            return False


def _single(write: Write, features: Features) -> Call | Impossible:
    member = write.members[0]
    path = f"{_WRITES}/{_PATHS[write.verb][0].format(segment(_spelling(member)))}"
    match write.verb:
        case Verb.CREATE:
            return Call(path, _created(member, features))
        case Verb.DELETE:
            return Call(path)
        case Verb.ATTACH | Verb.DETACH:
            return Call(path, {"inboundIds": list(member.inbound_ids)})
        case Verb.UPDATE | Verb.ENABLE | Verb.DISABLE:
            if member.current is None:
                return Impossible(f"{member.email} cannot be updated without its present record")
            raw = member.current.raw or {}
            body = writes.updated_client(
                member, raw, has_group=features.has_group, skips_equal=features.skips_equal
            )
            return Call(path, body)
        case _:
            return Impossible(f"{write.verb} names no client")


def _wide(write: Write, features: Features) -> Call | Impossible:
    path = f"{_WRITES}/{_PATHS[write.verb][1]}"
    if write.verb is Verb.CREATE:
        return Call(path, [_created(member, features) for member in write.members])
    emails = [_spelling(member) for member in write.members]
    if write.verb is Verb.DELETE:
        return Call(path, {"emails": emails, "keepTraffic": False})
    if write.verb in (Verb.ENABLE, Verb.DISABLE):
        return Call(path, {"emails": emails})
    inbounds = {member.inbound_ids for member in write.members}
    if len(inbounds) != 1:
        return Impossible(f"one call can {write.verb} several clients only at the same inbounds")
    return Call(path, {"emails": emails, "inboundIds": list(inbounds.pop())})


def _created(member: ClientRecord, features: Features) -> dict[str, object]:
    client = writes.client(member, has_group=features.has_group)
    return {"client": client, "inboundIds": list(member.inbound_ids)}


def _spelling(member: ClientRecord) -> str:
    """The email as the panel spells it: paths and lists of emails are matched exactly."""
    return member.current.email if member.current is not None else member.email


def _fits_path(email: str) -> bool:
    return bool(email) and "/" not in email


_ReasonOf = Callable[[str], str | None]


def _skips(answer: BulkAnswer) -> _ReasonOf:
    """By email in lower case: some calls trim and compare that way."""
    skipped = [one for one in answer.skipped if isinstance(one, Skipped)]
    return {one.email.lower(): one.reason for one in skipped}.get


def _failures(answer: BulkAnswer) -> _ReasonOf:
    """Read the `errors` of attach and detach: of one email, or of a whole inbound.

    What these calls list as skipped was already attached, or not attached: as wanted.
    """
    of_emails: dict[str, str] = {}
    of_inbounds: list[str] = []
    for error in answer.errors:
        subject, _, reason = error.partition(": ")
        if subject.startswith("inbound "):
            of_inbounds.append(error)
        else:
            of_emails[subject.partition(" -> ")[0].lower()] = reason
    done = {email.lower() for email in (*answer.attached, *answer.detached)}

    def reason_of(email: str) -> str | None:
        if email in of_emails:
            return of_emails[email]
        return of_inbounds[0] if of_inbounds and email not in done else None

    return reason_of


def _result(member: ClientRecord, reason: str) -> MemberResult:
    # These texts are not localised, and still no more than a hint: only a look tells.
    text = mask(shorten(reason), (member.sub_id, member.uuid, member.password, member.auth))
    is_absent = text.lower() in ("client not found", "record not found")
    verdict = MemberVerdict.ABSENT if is_absent else MemberVerdict.SKIPPED
    return MemberResult(member.email, verdict, text)
