"""The adoption map: CSV and YAML say the same, and every mistake has its line."""

from datetime import UTC, datetime

import pytest

from desired_state.manifests.adoption_map import read_map
from desired_state.manifests.errors import ManifestError
from desired_state.manifests.sources.source import ManifestFile
from desired_state.model.adoption_plan import MapEntry
from desired_state.model.ids import TariffName

ENTRIES = (
    MapEntry(
        email="Ivan@shop", telegram_id=700001, tariff=TariffName("month"),
        valid_until=datetime(2027, 2, 1, tzinfo=UTC), quota_bytes=100 * 1024**3, devices=3,
    ),
    MapEntry(uuid="7f1d0c52", valid_until=datetime(2027, 1, 31, 9, tzinfo=UTC)),
)  # fmt: skip
CSV = """\
email,uuid,telegramId,tariff,validUntil,quota,devices
Ivan@shop,,700001,month,2027-01-31,100GiB,3
,7f1d0c52,,,2027-01-31T12:00:00+03:00,,
"""
YAML = """\
clients:
  - {email: Ivan@shop, telegramId: 700001, tariff: month, validUntil: 2027-01-31, quota: 100GiB, devices: 3}
  - {uuid: 7f1d0c52, validUntil: "2027-01-31T12:00:00+03:00"}
"""


def read(name: str, text: str) -> tuple[MapEntry, ...]:
    return read_map(ManifestFile(name, text.encode()))


@pytest.mark.parametrize(
    ("name", "text"),
    [("m.csv", CSV), ("m.csv", "\ufeff" + CSV.replace(",", ";")), ("m.yaml", YAML)],
    ids=["csv", "csv of a spreadsheet", "yaml"],
)
def test_a_map_reads_the_same_in_every_form(name: str, text: str) -> None:
    assert ENTRIES == read(name, text)


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("m.csv", "email,telegramId\na,12x\n", ("m.csv:2:1",)),
        ("m.csv", "email,telegramId\na,1\nb\nA,2\n", ("m.csv:3:1", "m.csv:4:1")),
        ("m.csv", "email,validUntil\na,soon\nb,2027-01-31T12:00\n", ("m.csv:2:1", "m.csv:3:1")),
        ("m.csv", "telegramId\n5\n", ("m.csv:2:1",)),
        ("m.yaml", "- {email: a}\n", ("m.yaml:1:1",)),
        ("m.yaml", "clients:\n  - {email: a, telegram: 5}\n", ("m.yaml:2:16",)),
        ("m.csv", "", ("m.csv:1:1",)),
        ("m.csv", "email,telegramId\n\n", ("m.csv:1:1",)),
        ("m.yaml", "clients: []\n", ("m.yaml:1:1",)),
    ],
    ids=[
        "no number", "short line and doubled", "no day", "no client", "no list", "unknown name",
        "empty", "names alone", "empty list",
    ],
)  # fmt: skip
def test_every_mistake_of_a_map_has_its_place(
    name: str, text: str, places: tuple[str, ...]
) -> None:
    with pytest.raises(ManifestError) as refused:
        read(name, text)

    assert (places, "the map") == (refused.value.places, refused.value.subject)
