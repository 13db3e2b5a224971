"""What a panel names its inbounds, recorded: also what PostgreSQL stores in no text."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from controller.core import effects as fx
from controller.core.declared import stand
from controller.core.desired import ManagedInbound
from controller.panels.wire.inbounds import NestedInbound
from controller.runtime.declaring import record_inbounds
from controller.runtime.history import EventLog
from desired_state.model.ids import Epoch, NodeName
from desired_state.model.inbound import InboundState
from desired_state.store.tables.inbounds import ManagedInboundRow
from tests.fakes.clock import START
from tests.unit.controller_core.test_declared import SPEC, desired_with

ONE = NodeName("one")


@pytest.fixture
def backend(request):
    return getattr(request, "param", "sqlite")


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("words", [{"port": SPEC.port}, {"tag": f"{SPEC.tag}\x00", "port": 9}])
async def test_names_with_a_nul_are_told_and_recorded_without_it(store, words):
    inbound = {
        "id": 3, "protocol": "vless", "remark": "grand\x00ma", "listen": "\x00", **words,
        "streamSettings": {"network": "t\x00cp", "security": "none\x00"},
    }  # fmt: skip
    seen = NestedInbound.model_validate(inbound).slim().observe()
    (told,) = stand(desired_with(), [seen], START)
    row = replace(
        ManagedInbound(SPEC.name), state=InboundState.REFUSED, reason=told.reason,
        message=told.message, tag=seen.tag, remark=seen.remark, protocol=seen.protocol,
    )  # fmt: skip
    event = fx.Event("inbound_refused", detail=f"{row.name}: {row.message}")
    effect = fx.RecordInbounds(ONE, (row,), Epoch(1), events=(event,))

    async with store.recording() as session:
        connection = await session.connection()
        log = EventLog(connection, ONE, store.clock.now(), "c1", Epoch(1))
        await record_inbounds(connection, effect, store.clock.now(), log)
    async with store.reading() as session:
        stored = await session.scalar(select(ManagedInboundRow))

    assert ("grandma", told.message) == (stored.remark, stored.message)
    assert told.reason in {"InboundPortTaken", "InboundTagTaken"}
    assert "\x00" not in repr((seen.tag, seen.network, seen.security, seen.listen))
