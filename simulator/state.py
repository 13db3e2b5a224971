"""The panel's database: inbounds, clients, traffic rows, credentials, and its clock.

Callers: every handler, `background`, `control`. One `State` is one database file: a wipe makes
a new one, a backup is a copy of it.
Not here: HTTP, texts, rules of any endpoint.
"""

import random
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from simulator.settings import Settings

LOWER_AND_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"
LETTERS_AND_DIGITS = LOWER_AND_DIGITS + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class PanelClock:
    """The panel's wall clock: real time, moved by what tests ask for."""

    def __init__(self, start_ms: int | None) -> None:
        real_ms = time.time_ns() // 1_000_000
        self._offset_ms = 0 if start_ms is None else start_ms - real_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000 + self._offset_ms

    def seconds_ms(self) -> int:
        """Whole seconds as milliseconds: how the panel stamps most of its JSON."""
        return self.now_ms() // 1000 * 1000

    def advance(self, seconds: float) -> None:
        """Move the clock, backwards too."""
        self._offset_ms += round(seconds * 1000)


class Dice:
    """Seeded randomness: the same seed makes the same uuids, passwords and tokens."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def uuid(self) -> str:
        """A random UUID of version 4."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def hex(self) -> str:
        """A UUID without dashes: how the panel makes passwords."""
        return self.uuid().replace("-", "")

    def text(self, length: int, alphabet: str = LOWER_AND_DIGITS) -> str:
        """Random characters."""
        return "".join(self._random.choices(alphabet, k=length))

    def base64(self, size: int) -> str:
        """Random bytes in base64."""
        return b64encode(self._random.randbytes(size)).decode()

    def hexadecimal(self, size: int) -> str:
        """Random bytes in hexadecimal digits."""
        return self._random.randbytes(size).hex()


@dataclass
class TrafficRow:
    """A row of `client_traffics`; one per email in the whole panel."""

    id: int
    inbound_id: int
    email: str
    enable: bool
    total: int
    expiry_ms: int
    reset_days: int
    up: int = 0
    down: int = 0
    all_time: int = 0
    last_online_ms: int = 0

    def is_spent(self, now_ms: int) -> bool:
        """Over its quota or past its expiry."""
        over = self.total > 0 and self.up + self.down >= self.total
        return over or 0 < self.expiry_ms <= now_ms


@dataclass
class InboundRow:
    """A row of `inbounds`."""

    id: int
    settings: Settings
    remark: str = ""
    enable: bool = True
    listen: str = ""
    port: int = 0
    protocol: str = ""
    tag: str = ""
    stream: str = ""
    sniffing: str = ""
    allocate: str = ""
    up: int = 0
    down: int = 0
    total: int = 0
    all_time: int = 0
    expiry_ms: int = 0
    traffic_reset: str = "never"
    traffic_reset_day: int = 1
    last_reset_ms: int = 0
    sub_sort_index: int = 1
    share_strategy: str = "node"
    share_address: str = ""


@dataclass
class Record:
    """A row of `clients` (3.1.0+). `fields` holds all but the row id, by answer name."""

    id: int
    fields: dict[str, object]
    revision: int = 0

    @property
    def email(self) -> str:
        """The client's identity."""
        return str(self.fields["email"])

    def set(self, **values: object) -> None:
        """Store values."""
        self.fields.update(values)
        self.revision += 1


@dataclass
class ApiToken:
    """A bearer token of 3.0.0 and later."""

    id: int
    name: str
    token: str
    created_s: int
    enabled: bool = True


class TrafficTable:
    """`client_traffics`: rows in the order of their ids, unique by email."""

    def __init__(self) -> None:
        self._rows: dict[int, TrafficRow] = {}
        self._by_email: dict[str, TrafficRow] = {}
        self._last_id = 0

    def __iter__(self) -> Iterator[TrafficRow]:
        return iter(self._rows.values())

    def copy(self) -> "TrafficTable":
        """The same rows, to be changed apart."""
        twin = TrafficTable()
        twin._rows = {row.id: replace(row) for row in self}
        twin._by_email = {row.email: row for row in twin}
        twin._last_id = self._last_id
        return twin

    def get(self, email: str) -> TrafficRow | None:
        """The row of exactly this email."""
        return self._by_email.get(email)

    def add(self, row: TrafficRow) -> None:
        """Insert under the next id."""
        self._last_id += 1
        row.id = self._last_id
        self._rows[row.id] = row
        self._by_email[row.email] = row

    def rename(self, row: TrafficRow, email: str) -> None:
        """Give the row another email."""
        if self._by_email.get(row.email) is row:
            del self._by_email[row.email]
        row.email = email
        self._by_email[email] = row

    def delete(self, email: str) -> None:
        """Remove a row, if there is one."""
        row = self._by_email.pop(email, None)
        if row is not None:
            del self._rows[row.id]


@dataclass
class State:
    """Everything that a backup of the panel's database would hold."""

    secret: str
    guid: str
    username: str
    password: str
    inbounds: dict[int, InboundRow] = field(default_factory=dict)
    traffic: TrafficTable = field(default_factory=TrafficTable)
    records: dict[int, Record] = field(default_factory=dict)
    records_by_email: dict[str, Record] = field(default_factory=dict)
    links: dict[int, dict[int, str]] = field(default_factory=dict)
    tokens: list[ApiToken] = field(default_factory=list)
    ips: dict[str, str] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    external_links: dict[int, list[object]] = field(default_factory=dict)
    login_epoch: int = 0
    last_inbound_id: int = 0
    last_record_id: int = 0
    last_token_id: int = 0

    def copy(self) -> "State":
        """A backup."""
        records = {
            record.id: Record(record.id, dict(record.fields), record.revision)
            for record in self.records.values()
        }
        return replace(
            self,
            inbounds={
                inbound.id: replace(inbound, settings=inbound.settings.copy())
                for inbound in self.inbounds.values()
            },
            traffic=self.traffic.copy(),
            records=records,
            records_by_email={record.email: record for record in records.values()},
            links={inbound_id: dict(links) for inbound_id, links in self.links.items()},
            tokens=[replace(token) for token in self.tokens],
            ips=dict(self.ips),
            groups=list(self.groups),
            external_links=dict(self.external_links),
        )

    def next_inbound_id(self) -> int:
        """The id that the next inbound gets."""
        self.last_inbound_id += 1
        return self.last_inbound_id

    def find_clients(self, email: str) -> Iterator[tuple[InboundRow, str]]:
        """Inbounds that hold this email in any case, each with the client's subId."""
        for inbound in self.inbounds.values():
            for entry in inbound.settings.find_any_case(email):
                sub_id = entry.data.get("subId")
                yield inbound, sub_id if isinstance(sub_id, str) else ""

    def used_elsewhere(self, email: str, inbound_id: int) -> bool:
        """Whether another inbound holds this email in any case."""
        return any(found.id != inbound_id for found, _ in self.find_clients(email))

    def add_record(self, fields: dict[str, object]) -> Record:
        """Insert into `clients`."""
        self.last_record_id += 1
        record = Record(self.last_record_id, fields)
        self.records[record.id] = record
        self.records_by_email[record.email] = record
        return record

    def rename_record(self, record: Record, email: str) -> None:
        """Change a record's email."""
        self.records_by_email.pop(record.email, None)
        record.set(email=email)
        self.records_by_email[email] = record

    def delete_record(self, record: Record) -> None:
        """Remove from `clients` with all attachments."""
        del self.records[record.id]
        self.records_by_email.pop(record.email, None)
        self.external_links.pop(record.id, None)
        for links in self.links.values():
            links.pop(record.id, None)

    def attachments(self, record: Record) -> list[int]:
        """Ids of the inbounds that the client is attached to, ascending."""
        return sorted(ib for ib, links in self.links.items() if record.id in links)
