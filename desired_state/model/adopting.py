"""Who holds which found client, and what adopting them would make: a pure rule.

    a found client that          becomes
    ---------------------------  ---------------------------------------------------------------
    our journal knows            ours: counted
    carries an obstacle          doubled, or foreign with that reason
    has no person or tariff      foreign, with that reason
    logs in as another does      one key with it, also with one adopted on another node
    is otherwise matched         a key of its own, with a subscription of its own

Callers: `commands.adoption`. Not here: reading inventories, writing, the mapping's file.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from desired_state.model.adoption import AdoptedClient, FoundClient, Obstacle, list_changes
from desired_state.model.adoption_plan import (
    AdoptionPlan,
    Circumstances,
    ClientPlan,
    KeyPlan,
    KnownKey,
    Left,
    LeftAlone,
    MapEntry,
    MatchedBy,
)
from desired_state.model.ids import Email, KeyId, SubscriptionId, TariffName
from desired_state.model.subscription import Subscription

_NEW = KeyId("")
_NAMED = re.compile(r"(?i)(?<![a-z])(?:tg|telegram)[_.:=-]?(?:id)?[_.:=-]?(\d{5,15})(?!\d)")
_NUMBER = re.compile(r"(?<!\d)\d{5,15}(?!\d)")


@dataclass(frozen=True, slots=True)
class _Match:
    found: FoundClient
    entry: MapEntry
    telegram_id: int | None
    by: MatchedBy


def plan_adoption(found: Iterable[FoundClient], around: Circumstances) -> AdoptionPlan:
    """Decide about every found client; the same in any order of the same clients."""
    matches: list[_Match] = []
    left: list[LeftAlone] = []
    ours = 0
    entries = _Entries(around.mapping)
    for client in sorted(found, key=lambda c: (c.email, c.inbound_ids)):
        entry = entries.take(client)
        if client.email.lower() in around.ours:
            ours += 1
            continue
        match = _match(client, entry, around)
        why = _refuse(match, around)
        if why:
            left.append(LeftAlone(client.email, client.inbound_ids, why))
        else:
            matches.append(match)
    keys: list[KeyPlan] = []
    known = _Known(around.known)
    for group in _group(matches):
        made = _make_key(group, known, around)
        if isinstance(made, KeyPlan):
            keys.append(made)
        else:
            left += [LeftAlone(m.found.email, m.found.inbound_ids, made.value) for m in group]
    return AdoptionPlan(
        around.node,
        tuple(keys),
        tuple(sorted(left, key=lambda one: one.email)),
        ours,
        entries.unmet,
    )


def same_credentials(one: str, other: str) -> bool:
    """Tell whether two digests `u.p.a` agree wherever both say something, and do so somewhere."""
    pairs = [(a, b) for a, b in zip(one.split("."), other.split("."), strict=True) if a and b]
    return bool(pairs) and all(a == b for a, b in pairs)


# -- whose it is -----------------------------------------------------------------------------------


class _Entries:
    """The mapping by email and by uuid, both in lower case; remembers which line met a client."""

    def __init__(self, entries: Iterable[MapEntry]) -> None:
        entries = tuple(entries)
        self._left = {entry.email or entry.uuid: entry for entry in entries}
        self._by_email: dict[str, MapEntry] = {}
        self._by_uuid: dict[str, MapEntry] = {}
        for entry in entries:
            if entry.email:
                self._by_email[entry.email.lower()] = entry
            if entry.uuid:
                self._by_uuid[entry.uuid.lower()] = entry

    def take(self, client: FoundClient) -> MapEntry | None:
        """The entry of a client: by its email before its uuid, which several may share."""
        by_email = self._by_email.get(client.email.lower())
        entry = by_email or self._by_uuid.get(client.secrets.uuid.lower())
        if entry is not None:
            self._left.pop(entry.email or entry.uuid, None)
        return entry

    @property
    def unmet(self) -> tuple[str, ...]:
        """What the lines name that met no client so far."""
        return tuple(sorted(self._left))


def _match(client: FoundClient, entry: MapEntry | None, around: Circumstances) -> _Match:
    if entry is not None and entry.telegram_id is not None:
        return _Match(client, entry, entry.telegram_id, MatchedBy.MAP)
    guessed = MatchedBy.NOBODY
    telegram_id: int | None = None
    if client.tg_id > 0:
        telegram_id, guessed = client.tg_id, MatchedBy.TG_ID
    elif (number := _telegram_id(client.email, around.people)) is not None:
        telegram_id, guessed = number, MatchedBy.EMAIL
    elif (number := _telegram_id(client.comment, around.people)) is not None:
        telegram_id, guessed = number, MatchedBy.COMMENT
    if entry is not None and telegram_id is None:
        guessed = MatchedBy.MAP
    return _Match(client, entry or MapEntry(), telegram_id, guessed)


def _telegram_id(text: str, people: frozenset[int]) -> int | None:
    """Read the one Telegram id in a text: named as one, or a number that is somebody's we know.

    Any other number may be a date or a counter.
    """
    named = {int(number) for number in _NAMED.findall(text)}
    numbers = named or {int(number) for number in _NUMBER.findall(text)} & people
    return numbers.pop() if len(numbers) == 1 else None


def _refuse(match: _Match, around: Circumstances) -> str:
    """Say why a client stays foreign; empty when nothing keeps it."""
    client = match.found
    if client.obstacle is not Obstacle.NONE:
        return client.obstacle.value
    if not client.matched_ids:
        return Left.UNMATCHED.value
    return _refuse_terms(match, around)


def _refuse_terms(match: _Match, around: Circumstances) -> str:
    client, entry = match.found, match.entry
    if match.telegram_id is None and around.needs_person and match.by is not MatchedBy.MAP:
        return Left.NO_PERSON.value
    if entry.tariff is None and around.tariff is None:
        return Left.NO_TARIFF.value
    if client.expiry_ms < 0 and entry.valid_until is None:
        return Left.NOT_BEGUN.value
    until = entry.valid_until or client.until
    kept = timedelta(seconds=around.policy.delete_expired_after_s)
    if until is not None and until + kept <= around.now:
        return Left.EXPIRED.value
    return ""


# -- keys ------------------------------------------------------------------------------------------


def _group(matches: Iterable[_Match]) -> list[list[_Match]]:
    """Put clients that log in alike together."""
    groups: list[list[_Match]] = []
    by_part: dict[tuple[int, str], list[list[_Match]]] = defaultdict(list)
    for match in matches:
        parts = _parts(match.found.secrets_digest)
        near = (group for place in parts for group in by_part[place])
        digest = match.found.secrets_digest
        fitting = next(
            (g for g in near if all(same_credentials(digest, m.found.secrets_digest) for m in g)),
            None,
        )
        if fitting is None:
            fitting = []
            groups.append(fitting)
        fitting.append(match)
        for place in parts:
            by_part[place].append(fitting)
    return groups


class _Known:
    """Keys that were adopted before, by each of their credentials."""

    def __init__(self, keys: Iterable[KnownKey]) -> None:
        self._by_part: dict[tuple[int, str], list[KnownKey]] = defaultdict(list)
        for key in keys:
            for place in _parts(key.secrets_digest):
                self._by_part[place].append(key)

    def of(self, digest: str) -> KnownKey | None:
        """The key that logs in alike."""
        near = (key for place in _parts(digest) for key in self._by_part.get(place, ()))
        return next((k for k in near if same_credentials(digest, k.secrets_digest)), None)


def _parts(digest: str) -> list[tuple[int, str]]:
    return [(at, part) for at, part in enumerate(digest.split(".")) if part]


def _make_key(group: list[_Match], keys: _Known, around: Circumstances) -> KeyPlan | Left:
    people = {m.telegram_id for m in group if m.telegram_id is not None}
    known = keys.of(group[0].found.secrets_digest)
    if known is not None and known.telegram_id is not None:
        people.add(known.telegram_id)
    if len(people) > 1:
        return Left.CONTRADICTION
    found = [m.found for m in group]
    if known is not None:
        subscription, key = known.subscription, known.key
        as_found = subscription
    else:
        subscription, key = _subscription(group, around), _NEW
        as_found = replace(subscription, quota_bytes=_quota(found), devices=_devices(found))
    used = subscription.used_bytes + sum(m.found.used_bytes for m in group)
    judged = replace(subscription, used_bytes=used)
    clients = tuple(_make_client(client, key, judged, as_found, around) for client in found)
    return KeyPlan(key, people.pop() if people else None, group[0].by, judged, clients)


def _make_client(
    found: FoundClient,
    key: KeyId,
    subscription: Subscription,
    as_found: Subscription,
    around: Circumstances,
) -> ClientPlan:
    """Put down one client; `as_found`: the terms under which its limits stay as they are."""
    adopted = AdoptedClient(
        node=around.node,
        email=found.email,
        key=key,
        inbound_ids=found.matched_ids,
        sub_id=found.sub_id,
        secrets_digest=found.secrets_digest,
        flow=found.flow,
        expiry_ms=found.expiry_ms,
        total_bytes=found.total_bytes,
        limit_ip=found.limit_ip,
        quota_bytes=as_found.quota_bytes,
        devices=as_found.devices,
        tg_id=found.tg_id,
        comment=found.comment,
        group=found.group,
    )
    return ClientPlan(found, adopted, _changes(found, adopted, subscription, around))


def _changes(
    found: FoundClient,
    adopted: AdoptedClient,
    subscription: Subscription,
    around: Circumstances,
) -> tuple[str, ...]:
    margin_s = around.policy.expiry_margin_s
    changes = list_changes(found, adopted, subscription, around.now, margin_s)
    ended = subscription.ended_by(around.now)
    if ended is None and not found.enable and (found.is_used_up or _has_ended(found, around.now)):
        # Switched off by the panel on its own limit: while that stands, no turn fights it.
        return changes if any(not c.startswith("switch ") for c in changes) else ()
    return changes


def _has_ended(found: FoundClient, now: datetime) -> bool:
    return found.until is not None and found.until <= now


def _subscription(group: list[_Match], around: Circumstances) -> Subscription:
    """Make the terms of a new subscription: what the mapping says, else the sum of what was found.

    The quota is the sum of its clients' totals, since each of them may be used up today.
    """
    entries = [m.entry for m in group]
    found = [m.found for m in group]
    ends = [entry.valid_until or client.until for entry, client in zip(entries, found, strict=True)]
    known_ends = [end for end in ends if end is not None]
    quota = next((e.quota_bytes for e in entries if e.quota_bytes is not None), None)
    devices = next((e.devices for e in entries if e.devices is not None), None)
    tariff = next((e.tariff for e in entries if e.tariff is not None), None) or around.tariff
    return Subscription(
        id=SubscriptionId(""),
        tariff=tariff or TariffName(""),
        valid_until=max(known_ends) if len(known_ends) == len(ends) else None,
        quota_bytes=quota or _quota(found),
        devices=devices or _devices(found),
        banned=any(m.telegram_id in around.banned for m in group),
        suspended=all(_is_switched_off_by_hand(client, around.now) for client in found),
    )


def _quota(found: list[FoundClient]) -> int | None:
    """Add up what clients may use; None when one of them has no limit."""
    if not all(client.total_bytes > 0 for client in found):
        return None
    return sum(client.total_bytes for client in found)


def _devices(found: list[FoundClient]) -> int | None:
    if not all(client.limit_ip > 0 for client in found):
        return None
    return max(client.limit_ip for client in found)


def _is_switched_off_by_hand(client: FoundClient, now: datetime) -> bool:
    return not client.enable and not client.is_used_up and not _has_ended(client, now)


def people_named(found: Iterable[FoundClient]) -> Mapping[Email, frozenset[int]]:
    """Give all numbers in emails and comments that may be Telegram ids, to look up which are known."""
    return {
        client.email: frozenset(
            int(number) for number in _NUMBER.findall(f"{client.email} {client.comment}")
        )
        for client in found
    }
