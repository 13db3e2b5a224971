"""Values and rules of the model that are no ownership and no credentials."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.errors import ConfigError, InvalidValue, X3FleetError
from desired_state.model.ids import KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.key import Key
from desired_state.model.node import (
    Credentials,
    DeletionPolicy,
    Mode,
    Node,
    NodeOverrides,
    SecretRef,
)
from desired_state.model.policy import Policy, policy_for
from desired_state.model.quantities import format_size, parse_size
from desired_state.model.subscription import EndedBy, Subscription
from desired_state.model.tariff import NodeSelector
from tests.builders import GIB, make_node_spec

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
MODES = list(Mode)


# -- nodes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("override", [None, *MODES])
@pytest.mark.parametrize("declared", MODES)
@pytest.mark.parametrize("paused", [False, True])
def test_of_two_modes_the_stricter_wins(
    declared: Mode, override: Mode | None, *, paused: bool
) -> None:
    node = Node(make_node_spec(mode=declared), NodeOverrides(paused=paused, mode=override))

    strictest = max(MODES.index(declared), MODES.index(override or Mode.ENFORCE))
    assert (Mode.PAUSED if paused else MODES[strictest]) == node.mode


def test_modes_stand_in_order_of_strictness() -> None:
    assert [0, 1, 2, 3] == [mode.strictness for mode in MODES]


@pytest.mark.parametrize(
    ("spec", "state", "schedulable", "draining"),
    [
        ({}, {}, True, False),
        ({"schedulable": False}, {}, False, False),
        ({"drain": True}, {}, False, True),
        ({}, {"overrides": NodeOverrides(cordoned=True)}, False, False),
        ({}, {"overrides": NodeOverrides(draining=True)}, False, True),
        ({}, {"orphaned": True}, False, False),
        ({"deletion_policy": DeletionPolicy.DRAIN}, {"orphaned": True}, False, True),
        ({"deletion_policy": DeletionPolicy.DRAIN}, {}, True, False),
    ],
    ids=[
        "plain", "declared unschedulable", "declared drain", "cordoned", "drained", "orphaned",
        "orphaned with Drain", "declared with Drain",
    ],
)  # fmt: skip
def test_who_may_get_keys_and_who_loses_them(
    spec: dict[str, object], state: dict[str, object], *, schedulable: bool, draining: bool
) -> None:
    node = Node(make_node_spec(**spec), **state)

    assert (schedulable, draining) == (node.is_schedulable, node.is_draining)
    assert NodeName("nl-1") == node.name


def test_a_secret_reference_is_described_by_its_place() -> None:
    kinds = [SecretRef("env", "A"), SecretRef("file", "/a"), SecretRef("ciphertext", "gAAA")]

    assert ["env A", "file /a", "ciphertext"] == [ref.describe() for ref in kinds]
    assert not any("gAAA" in repr(ref) for ref in kinds)


def test_credentials_are_not_printed() -> None:
    assert "hunter2" not in repr(Credentials(*["hunter2"] * 5))


# -- subscriptions and keys ------------------------------------------------------------------------


def make_subscription(**changes: object) -> Subscription:
    values = {"valid_until": NOW + timedelta(days=1), "quota_bytes": 10, "used_bytes": 9}
    return Subscription(SubscriptionId("s"), TariffName("t"), **values | changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"valid_until": None, "quota_bytes": None, "used_bytes": 10**15}, None),
        ({"valid_until": NOW}, EndedBy.EXPIRY),
        ({"valid_until": NOW + timedelta(microseconds=1)}, None),
        ({"used_bytes": 10}, EndedBy.QUOTA),
        ({"quota_bytes": 0, "used_bytes": 0}, EndedBy.QUOTA),
        ({"suspended": True}, EndedBy.PERSON),
        ({"suspended": True, "valid_until": NOW}, EndedBy.PERSON),
        ({"valid_until": NOW, "used_bytes": 10}, EndedBy.EXPIRY),
        ({"lost": True, "suspended": True}, EndedBy.LOST),
    ],
    ids=[
        "in force", "without limits", "at its end", "just before its end", "at its quota",
        "a quota of nothing", "suspended", "suspended and expired", "expired and used up", "lost",
    ],
)  # fmt: skip
def test_what_ends_a_subscription(changes: dict[str, object], expected: EndedBy | None) -> None:
    assert expected == make_subscription(**changes).ended_by(NOW)


def test_a_key_is_wanted_until_it_is_deleted() -> None:
    values = (KeyId("k"), SubscriptionId("s"), 1, NodeSelector())

    assert Key(*values).is_wanted
    assert not Key(*values, deleted_at=NOW).is_wanted


# -- selectors and policies ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((), False),
        ((("country", "nl"),), False),
        ((("country", "nl"), ("tier", "a")), True),
        ((("country", "nl"), ("more", "x"), ("tier", "a")), True),
        ((("country", "de"), ("tier", "a")), False),
    ],
)
def test_a_selector_wants_all_of_its_labels(
    labels: tuple[tuple[str, str], ...], *, expected: bool
) -> None:
    selector = NodeSelector((("country", "nl"), ("tier", "a")))

    assert expected == selector.matches(labels)
    assert NodeSelector().matches(labels)


NL, NL_A = (("country", "nl"),), (("country", "nl"), ("tier", "a"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "default"),
        (["z", "fleet"], "fleet"),
        (["fleet", "nl"], "nl"),
        (["nl", "nl-a", "fleet"], "nl-a"),
        (["de"], "default"),
    ],
    ids=["none", "the first by name", "more labels", "most labels", "of other nodes"],
)
def test_the_most_specific_policy_applies(names: list[str], expected: str) -> None:
    selectors = {"nl": NL, "nl-a": NL_A, "de": (("country", "de"),)}
    policies = tuple(Policy(name=name, selector=selectors.get(name, ())) for name in names)

    assert expected == policy_for(policies, NL_A).name


# -- quantities ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("200GiB", 200 * GIB),
        ("1.5 TB", 1_500_000_000_000),
        (" 0B ", 0),
        ("0.1KB", 100),
        ("1KiB", 1024),
    ],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "200", "GiB", "-1GB", "1,5GB", "1 PB", "1e3GB", "1iB", "٣GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="traffic"):
        parse_size(text)


@given(st.decimals(min_value=0, max_value=1000, places=3), st.sampled_from(["KB", "GB", "TiB"]))
def test_a_size_is_exact(number: Decimal, unit: str) -> None:
    """No float on the way: a customer's quota is what was sold."""
    scale = {"KB": 10**3, "GB": 10**9, "TiB": 2**40}[unit]

    assert int(number * scale) == parse_size(f"{number}{unit}")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 * GIB, "200 GiB"), (2**41, "2 TiB")],
)
def test_a_size_is_shown_with_its_largest_unit(size: int, text: str) -> None:
    assert text == format_size(size)


# -- errors ----------------------------------------------------------------------------------------


def test_an_error_says_what_and_what_to_do() -> None:
    assert "it broke (mend it)" == str(X3FleetError("it broke", hint="mend it"))
    assert "it broke" == str(X3FleetError("it broke"))


def test_a_wrong_value_names_its_field() -> None:
    error = InvalidValue("spec.weight", "must be positive")

    assert ("spec.weight", "invalid_value") == (error.field, error.code)
    assert "spec.weight: must be positive" == str(error)
    assert isinstance(ConfigError("x"), X3FleetError)
