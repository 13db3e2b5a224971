"""Every error is a condition's reason, temporary or permanent exactly as the core takes it."""

from datetime import timedelta

import pytest

from controller.core.observed import PERMANENT, NotObserved, NotSeen
from controller.panels.api import errors
from controller.panels.api.envelope import Answer
from controller.panels.api.errors import (
    PanelBusy,
    PanelChanged,
    PanelError,
    PanelMisconfigured,
    PanelPermanent,
    PanelTemporary,
)
from controller.panels.detect import busy
from desired_state.model.ids import NodeName
from tests.unit.controller_panels_api.scripted import START

NODE = NodeName("nl-1")
LEAVES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, PanelError)
    and kind not in (PanelError, PanelTemporary, PanelPermanent)
]


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_error_is_permanent_exactly_when_its_reason_is(kind: type[PanelError]) -> None:
    assert issubclass(kind, PanelPermanent) is (kind.reason in PERMANENT)
    assert issubclass(kind, PanelTemporary) is (kind.reason not in PERMANENT)


def test_every_reason_has_an_error() -> None:
    assert set(NotSeen) == {kind.reason for kind in LEAVES}


def test_codes_are_distinct() -> None:
    codes = [kind.code for kind in LEAVES]

    assert sorted(set(codes)) == sorted(codes)


def test_error_becomes_the_value_of_a_failed_look() -> None:
    error = PanelBusy(NODE, "read x", "the panel answered 503", hint="wait", retry_after_s=30)

    assert NotObserved(
        NODE, NotSeen.BUSY, "the panel answered 503 (wait)", START + timedelta(seconds=30)
    ) == error.to_not_observed(START)


def test_error_without_a_delay_names_no_moment() -> None:
    error = PanelChanged(NODE, "connect", "the panel was 2.9.4 and is now 3.6.0")

    assert error.to_not_observed(START).retry_after is None


def test_misconfiguration_names_its_field() -> None:
    error = PanelMisconfigured(NODE, "panel.auth.token", "is empty")

    assert ("panel.auth.token", "panel.auth.token: is empty") == (error.field, str(error))


@pytest.mark.parametrize("wait", ["", "soon", "-5", "\u00b2", "9" * 20, "9" * 400, "1e300"])
def test_a_delay_that_is_no_advice_names_no_moment(wait: str) -> None:
    """Whatever stands in `Retry-After`, the panel is merely busy."""
    answer = Answer(NODE, "GET", "panel/api/inbounds/list", 503, b"", retry_after=wait)

    assert busy(answer, "read x").to_not_observed(START).retry_after is None
