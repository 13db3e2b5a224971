"""Devices of subscriptions: one that asks is admitted or refused; a person has one forgotten.

A sight of a device wakes nobody: nothing on a panel depends on it. Callers: entrances, later the
subscription endpoint. Not here: the rule (`model.device`), `limitIp` on panels.
"""

from sqlalchemy import delete, select

from desired_state.commands.errors import NotFound
from desired_state.commands.subscriptions import find_subscription
from desired_state.model.device import TOUCH_AFTER, Admission, admit
from desired_state.model.ids import DeviceId, SubscriptionId
from desired_state.store.convert_shop import device_from
from desired_state.store.tables.shop import DeviceRow
from desired_state.store.unit_of_work import UnitOfWork

_TITLE_MOST = 80
"""Characters of a device's own title that are kept."""


async def see(
    work: UnitOfWork, subscription: SubscriptionId, device: DeviceId, *, title: str = ""
) -> Admission:
    """Admit or refuse a device that a subscription is fetched with, and remember an admitted one.

    Asked again within a week, nothing is written.

    Args:
        work: the transaction.
        subscription: whose.
        device: from `identify_device`.
        title: what it calls itself.

    Raises:
        NotFound: no such subscription.
    """
    owner = await find_subscription(work, subscription)
    query = select(DeviceRow).where(DeviceRow.subscription_id == subscription)
    rows = {DeviceId(row.id): row for row in await work.session.scalars(query)}
    seen = [device_from(row) for row in rows.values()]
    answer = admit(seen, device, owner.devices, work.now)
    row = rows.get(device)
    is_fresh = answer.known and row is not None and work.now - row.last_seen_at < TOUCH_AFTER
    if not answer.admitted or is_fresh:
        return answer
    revision = await work.revise(wakes=False)
    gone = [one for one in answer.forgotten if one != device]
    if gone:
        await work.session.execute(
            delete(DeviceRow).where(
                DeviceRow.subscription_id == subscription, DeviceRow.id.in_(gone)
            )
        )
    if row is None:
        row = DeviceRow(subscription_id=subscription, id=device, first_seen_at=work.now)
        work.session.add(row)
    row.title, row.last_seen_at, row.revision = title[:_TITLE_MOST], work.now, revision
    if not answer.known:
        work.audit("device_admitted", f"subscription/{subscription}", device=device[:12])
    else:
        work.audit("device_seen", f"subscription/{subscription}", device=device[:12])
    return answer


async def forget(work: UnitOfWork, subscription: SubscriptionId, device: str) -> DeviceId:
    """Forget a device, so that another may take its place at once.

    Args:
        work: the transaction.
        subscription: whose.
        device: the first digits of its id, as many as tell it from the others.

    Raises:
        NotFound: no such device, or several that begin so.
    """
    query = select(DeviceRow).where(
        DeviceRow.subscription_id == subscription, DeviceRow.id.startswith(device, autoescape=True)
    )
    found = (await work.session.scalars(query)).all()
    if len(found) != 1:
        raise NotFound(
            "device", device, hint="x3fleet subscriptions show names them; give enough digits"
        )
    await work.session.delete(found[0])
    await work.revise(wakes=False)
    work.audit("device_forgotten", f"subscription/{subscription}", device=found[0].id[:12])
    return DeviceId(found[0].id)
