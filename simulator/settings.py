"""The `settings` text of an inbound: the stored string and its clients.

The panel stores one string, kept as posted until the first client write re-indents it.
Here the parsed clients are the truth and the text is made on demand, so that a write to an
inbound of 10,000 clients does not serialise them all.
Callers: `state` and every handler that reads or writes clients. Not here: rules about clients.
"""

from collections.abc import Callable, Iterable

from simulator import gojson
from simulator.gojson import Doc


class Entry:
    """One element of `settings.clients`. Its data is replaced, never changed in place."""

    __slots__ = ("_compact", "_text", "data", "synced")

    def __init__(self, data: Doc) -> None:
        self.data = data
        # What the last fold into the clients table left: (record id, record revision).
        self.synced: tuple[int, int] | None = None
        self._text: str | None = None
        self._compact: str | None = None

    def copy(self) -> "Entry":
        """Another place for the same client."""
        twin = Entry(self.data)
        twin.synced, twin._text, twin._compact = self.synced, self._text, self._compact
        return twin

    @property
    def email(self) -> str:
        """The email as the panel compares it; empty when it is missing or no string."""
        value = self.data.get("email")
        return value if isinstance(value, str) else ""

    def change(self, **values: object) -> None:
        """Set keys of the client."""
        self.replace({**self.data, **values})

    def replace(self, data: Doc) -> None:
        """Put another client in this place."""
        self.data = data
        self.synced = None
        self.forget()

    def forget(self) -> None:
        """Drop the cached texts."""
        self._text = self._compact = None

    def text(self, *, sort: bool) -> str:
        """The client inside the stored text, two levels deep."""
        if self._text is None:
            self._text = gojson.indented(self.data, 2, sort=sort)
        return self._text

    def compact(self, *, sort: bool) -> str:
        """The client inside a nested answer."""
        if self._compact is None:
            self._compact = gojson.compact(self.data, sort=sort)
        return self._compact


class Settings:
    """The settings of one inbound, as text and as clients."""

    def __init__(self, text: str) -> None:
        self._posted: str | None = text
        # Keys of a document that was stored from a typed struct keep the struct's order.
        self._sorted = False
        self.doc: Doc | None = None
        self.error: str | None = None
        self.entries: list[Entry] | None = None
        self._by_email: dict[str, list[Entry]] = {}
        self._without_email = 0
        self._text: str | None = None
        self._compact: str | None = None
        self._load(text)

    def _load(self, text: str) -> None:
        try:
            doc = gojson.parse(text)
        except gojson.GoJsonError as error:
            self.error = str(error)
            return
        if isinstance(doc, dict):
            self.doc = doc
            clients = doc.get("clients")
            if isinstance(clients, list):
                self.entries = [Entry(c if isinstance(c, dict) else {}) for c in clients]
                doc["clients"] = []
        self._index()

    def copy(self) -> "Settings":
        """The same settings, to be changed apart; texts and clients' data are shared."""
        twin = Settings("")
        twin._posted, twin._sorted = self._posted, self._sorted
        twin.doc = None if self.doc is None else dict(self.doc)
        twin.error = self.error
        twin.entries = None if self.entries is None else [entry.copy() for entry in self.entries]
        twin._text, twin._compact = self._text, self._compact
        twin._index()
        return twin

    @property
    def clients(self) -> list[Entry]:
        """The clients, empty when there is no such list."""
        return self.entries if self.entries is not None else []

    @property
    def has_nameless(self) -> bool:
        """Whether some client has no key `email` at all: it poisons a v2 panel."""
        return self._without_email > 0

    def find(self, email: str) -> Entry | None:
        """The first client with exactly this email."""
        return next((e for e in self._by_email.get(email.lower(), ()) if e.email == email), None)

    def find_any_case(self, email: str) -> list[Entry]:
        """All clients whose email differs at most in case."""
        return self._by_email.get(email.lower(), [])

    def get(self, key: str) -> object:
        """Another member of the settings, such as `method`."""
        return self.doc.get(key) if self.doc is not None else None

    def append(self, clients: Iterable[Doc]) -> None:
        """Add clients at the end and rewrite the text."""
        added = [Entry(client) for client in clients]
        self.entries = [*self.clients, *added]
        if self.doc is not None:
            self.doc["clients"] = []
        for entry in added:
            self._add_to_index(entry)
        self.rewrite()

    def keep(self, wanted: Callable[[Entry], bool]) -> int:
        """Remove every client that is not wanted; say how many went."""
        before = self.clients
        self.entries = [entry for entry in before if wanted(entry)]
        if len(before) != len(self.entries):
            self._index()
        self.rewrite()
        return len(before) - len(self.entries)

    def replace(self, entry: Entry, data: Doc) -> None:
        """Put another client in the place of one and rewrite the text."""
        renamed = entry.data.get("email") != data.get("email")
        entry.replace(data)
        if renamed:
            self._index()
        self.rewrite()

    def change(self, entry: Entry, **values: object) -> None:
        """Set keys of one client and rewrite the text."""
        self.replace(entry, {**entry.data, **values})

    def rewrite(self, *, typed: bool = False) -> None:
        """Mark the text as written by the panel: indented, keys sorted, unless from a struct."""
        if typed == self._sorted or self._posted is not None:
            for entry in self.clients:
                entry.forget()
        self._sorted = not typed
        self._posted = self._text = self._compact = None

    def reload(self) -> None:
        """Rewrite the text and look at all emails anew, after entries were replaced directly."""
        self.rewrite()
        self._index()

    @property
    def text(self) -> str:
        """The stored string."""
        if self._posted is not None:
            return self._posted
        if self._text is None:
            self._text = self._join(self._member_text, ",\n  ", "{\n  ", "\n}", '": ')
        return self._text

    @property
    def nested(self) -> str:
        """The same as JSON inside an answer: compact, null when empty, a string when broken."""
        if self._compact is None:
            if self._posted == "":
                self._compact = "null"
            elif self.error is not None:
                self._compact = gojson.compact(self._posted)
            elif self.doc is None:
                self._compact = gojson.compact(gojson.parse(self.text))
            else:
                self._compact = self._join(self._member_compact, ",", "{", "}", '":')
        return self._compact

    def _join(self, member: Callable[[str], str], between: str, *frame: str) -> str:
        opening, closing, colon = frame
        keys = list(self.doc or {})
        if self._posted is None:
            keys.sort()
        members = [f'"{gojson.escape(key)}{colon}{member(key)}' for key in keys]
        return opening + between.join(members) + closing if members else "{}"

    def _member_text(self, key: str) -> str:
        if key != "clients" or self.entries is None:
            return gojson.indented((self.doc or {})[key], 1)
        if not self.entries:
            return "[]"
        joined = ",\n    ".join(entry.text(sort=self._sorted) for entry in self.entries)
        return f"[\n    {joined}\n  ]"

    def _member_compact(self, key: str) -> str:
        if key != "clients" or self.entries is None:
            return gojson.compact((self.doc or {})[key], sort=self._posted is None)
        return "[" + ",".join(entry.compact(sort=self._sorted) for entry in self.entries) + "]"

    def _index(self) -> None:
        self._by_email = {}
        self._without_email = 0
        for entry in self.clients:
            self._add_to_index(entry)

    def _add_to_index(self, entry: Entry) -> None:
        if entry.data.get("email") is None:
            self._without_email += 1
        else:
            self._by_email.setdefault(entry.email.lower(), []).append(entry)
