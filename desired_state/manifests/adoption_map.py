"""The adoption map: a file that says whose client is whose when a panel is adopted.

CSV with a line of names, or YAML with a list `clients`; the fields are the same. It is read once and never
applied as a manifest. Callers: cli. Not here: matching (`desired_state.model.adopting`).
"""

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from desired_state.manifests.documents import Loaded
from desired_state.manifests.errors import Fault, FaultKind, error_of
from desired_state.manifests.fields import Name, Part, Size, wrong
from desired_state.manifests.positions import Item, Spot, parse_yaml
from desired_state.manifests.sources.source import ManifestFile
from desired_state.manifests.wording import faults_of
from desired_state.model.adoption_plan import MapEntry
from desired_state.model.ids import TariffName

_LARGEST_ID = 2**52
_NUMBERS = frozenset({"telegramId", "devices"})


def _moment(value: object) -> datetime:
    """Read a day (to its end, UTC) or a moment with its zone."""
    hint = "write 2027-01-31 for the end of that day in UTC, or 2027-01-31T12:00:00Z"
    if not isinstance(value, str):
        raise wrong("is no day and no moment", hint)
    try:
        if len(value) == len("2027-01-31"):
            end = date.fromisoformat(value) + timedelta(days=1)
            return datetime.combine(end, time(), UTC)
        moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError) as error:
        raise wrong("is no day and no moment", hint) from error
    if moment.tzinfo is None:
        raise wrong("has no time zone", hint)
    return moment.astimezone(UTC)


class MapLine(Part):
    """One client and what is to become of it."""

    email: str = ""
    """The client's email on the panel; case does not matter."""
    uuid: str = ""
    """Its UUID, where the email says nothing; of a line with both the email counts."""
    telegram_id: Annotated[int, Field(ge=1, le=_LARGEST_ID)] | None = None
    """Whose it is; left out: nobody's that is known."""
    tariff: Name | None = None
    """What its subscription is of; default: `--tariff`."""
    valid_until: Annotated[datetime, BeforeValidator(_moment)] | None = None
    """Until when; default: as the panel says."""
    quota: Size | None = None
    """Bytes that its subscription allows; default: as the panel says."""
    devices: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many devices; default: as the panel says."""

    @model_validator(mode="after")
    def _names_a_client(self) -> Self:
        if not (self.email or self.uuid):
            raise wrong("names no client", "write its email or its uuid")
        return self


def read_map(file: ManifestFile) -> tuple[MapEntry, ...]:
    """Read a map; YAML by its name (`.yaml`, `.yml`), CSV otherwise.

    Raises:
        ManifestError: all that is wrong with it, each with its place.
    """
    is_yaml = file.name.lower().endswith((".yaml", ".yml"))
    found = list(_yaml_lines(file) if is_yaml else _csv_lines(file))
    faults = [one for one in found if isinstance(one, Fault)]
    lines = [(at, line) for at, line in (o for o in found if not isinstance(o, Fault))]
    faults += _doubled(file, lines)
    if not found:
        hint = "begin with email,telegramId,tariff and go on with a line for each client"
        faults.append(Fault(file.name, 1, 1, "", "names no client at all", hint, FaultKind.SCHEMA))
    if faults:
        refused = error_of(faults)
        refused.subject = "the map"
        raise refused
    return tuple(_entry(line) for _, line in lines)


_Found = Iterator[Fault | tuple[tuple[int, int], MapLine]]


def _yaml_lines(file: ManifestFile) -> _Found:
    documents, broken = parse_yaml(file.name, file.content)
    yield from broken
    for document in documents:
        listed = document.get(("clients",))
        if listed is None or not isinstance(listed.data, list):
            hint = "begin with `clients:` and a list"
            spot = document.spot
            yield Fault(
                file.name, spot.line, spot.column, "", "holds no list of clients", hint,
                FaultKind.SCHEMA,
            )  # fmt: skip
            continue
        for item in listed.children.values():
            yield from _typed(file, item)


def _csv_lines(file: ManifestFile) -> _Found:
    try:
        text = file.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield Fault(file.name, 1, 1, "", "is not UTF-8 text", "", FaultKind.SYNTAX)
        return
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey="")
    for row in reader:
        item = _csv_item(row, reader.line_num)
        if isinstance(item, Item):
            yield from _typed(file, item)
        else:
            hint = "a number has digits alone; every line has as many fields as the first"
            yield Fault(
                file.name, reader.line_num, 1, item, "cannot be read", hint, FaultKind.SYNTAX
            )


def _csv_item(row: Mapping[str, object], line: int) -> Item | str:
    """Make of a line what YAML would hold; an empty field is not there."""
    data: dict[str, object] = {}
    for name, value in row.items():
        if not isinstance(value, str):
            return name
        text, field = value.strip(), name.strip()
        if not text:
            continue
        if field not in _NUMBERS:
            data[field] = text
        elif text.isascii() and text.isdigit():
            data[field] = int(text)
        else:
            return name
    spot = Spot(line, 1)
    return Item(data, spot, {name: Item(value, spot) for name, value in data.items()})


def _typed(file: ManifestFile, item: Item) -> _Found:
    try:
        yield (item.spot.line, item.spot.column), MapLine.model_validate(item.data)
    except ValidationError as error:
        yield from faults_of(error, Loaded(file, item, "", None), MapLine)


def _doubled(file: ManifestFile, lines: list[tuple[tuple[int, int], MapLine]]) -> Iterator[Fault]:
    seen: dict[tuple[str, str], int] = {}
    for (number, column), line in lines:
        for field, value in (("email", line.email), ("uuid", "" if line.email else line.uuid)):
            if not value:
                continue
            first = seen.setdefault((field, value.lower()), number)
            if first != number:
                message = f"stands in line {first} already"
                yield Fault(file.name, number, column, field, message, "", FaultKind.REFERENCE)


def _entry(line: MapLine) -> MapEntry:
    return MapEntry(
        email=line.email,
        uuid="" if line.email else line.uuid,
        telegram_id=line.telegram_id,
        tariff=None if line.tariff is None else TariffName(line.tariff),
        valid_until=line.valid_until,
        quota_bytes=line.quota,
        devices=line.devices,
    )
