"""`x3fleet subscriptions extend|change|freeze|unfreeze|refund|forget`: each a command, and what it left.

Not here: the rules (`desired_state.commands`), SQL.
"""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store, unit_of_work
from cli.payments import refund as refund_payment
from cli.people import TokenOption
from cli.render import Output, OutputOption, Page, day, show
from desired_state.model.errors import ConfigError
from desired_state.model.ids import PaymentId, SubscriptionId, TariffName

if TYPE_CHECKING:
    from desired_state.commands.subscriptions import SubscriptionChange

Which = Annotated[str, Parameter(name="SUBSCRIPTION", help="its id")]


async def extend(
    subscription: Which,
    /,
    *,
    days: Annotated[int, Parameter(help="how many more")],
    new_period: Annotated[bool, Parameter(help="count its traffic from zero")] = False,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Add days for nothing: to its end, or from now on where it has expired."""
    from desired_state.commands.subscriptions import extend as extend_subscription

    async with unit_of_work() as work:
        change = await extend_subscription(
            work, SubscriptionId(subscription), days, new_period=new_period, token=token
        )
    _show_change(change, "extended", output)
    return Exit.DONE


async def change_tariff(
    subscription: Which,
    /,
    *,
    tariff: Annotated[str, Parameter(help="which one it gets instead")],
    diff: Annotated[
        bool, Parameter(help="only show what it would do; exits 2 if anything")
    ] = False,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Give it another tariff for nothing; its end stays, its keys go where the tariff says."""
    if diff:
        from cli.subscriptions.diff import show_diff

        return await show_diff(SubscriptionId(subscription), TariffName(tariff), output)
    from desired_state.commands.tariffs import change

    async with unit_of_work() as work:
        done = await change(work, SubscriptionId(subscription), TariffName(tariff), token=token)
    _show_change(done, f"of tariff {tariff}", output)
    return Exit.DONE


async def freeze(
    subscription: Which,
    /,
    *,
    reason: Annotated[str, Parameter(help="shown to operators")] = "",
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Switch its keys off everywhere and let its time stand still."""
    from desired_state.commands.subscriptions import freeze as freeze_subscription

    async with unit_of_work() as work:
        change = await freeze_subscription(
            work, SubscriptionId(subscription), reason=reason, token=token
        )
    _show_change(change, "frozen", output)
    return Exit.DONE


async def unfreeze(
    subscription: Which, /, *, token: TokenOption = None, output: OutputOption = Output.TABLE
) -> Exit:
    """Serve its keys again, with the time and the credentials that they had."""
    from desired_state.commands.subscriptions import unfreeze as unfreeze_subscription

    async with unit_of_work() as work:
        change = await unfreeze_subscription(work, SubscriptionId(subscription), token=token)
    _show_change(change, "not frozen any more", output)
    return Exit.DONE


async def refund(
    subscription: Which,
    /,
    *,
    payment: Annotated[
        int | None, Parameter(help="which one; the last that was credited if left out")
    ] = None,
    reason: Annotated[str, Parameter(help="shown to operators")] = "",
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Decide that a payment is given back: what it bought is taken back at once.

    Exits 2 when that could not be taken back, for what was bought since.
    """
    number = await _paid(SubscriptionId(subscription), payment)
    return await refund_payment(number, reason=reason, token=token, output=output)


async def forget(
    subscription: Which,
    device: Annotated[str, Parameter(name="DEVICE", help="the first digits of its id")],
    /,
    *,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Forget one of its devices, so that another may take its place."""
    from desired_state.commands.devices import forget as forget_device

    async with unit_of_work() as work:
        gone = await forget_device(work, SubscriptionId(subscription), device)
    document = {"subscription": subscription, "device": gone[:12]}
    show(Page(document, (f"device {gone[:12]} is forgotten",)), output)
    return Exit.DONE


async def _paid(subscription: SubscriptionId, payment: int | None) -> PaymentId:
    """Find the payment that is meant, and see that it is one of this subscription.

    Raises:
        NotFound: no such subscription.
        ConfigError: it has no such payment.
    """
    from desired_state.commands.errors import NotFound
    from desired_state.queries.subscription import show_subscription

    async with opened_store() as store, store.reading() as session:
        found = await show_subscription(session, subscription, store.clock.now())
    if found is None:
        raise NotFound("subscription", subscription, hint="x3fleet subscriptions list shows them")
    chosen = [one.id for one in found.payments if one.credited is not None]
    if payment is not None:
        chosen = [one.id for one in found.payments if one.id == payment]
    if not chosen:
        raise ConfigError(
            f"subscription {subscription} has no such payment",
            hint=f"x3fleet subscriptions show {subscription} names them",
        )
    return chosen[0]


# -- what is shown ---------------------------------------------------------------------------------


def _show_change(change: "SubscriptionChange", done: str, output: Output) -> None:
    subscription = change.subscription
    document = {
        "subscription": subscription.id,
        "changed": change.changed,
        "tariff": subscription.tariff,
        "valid_until": subscription.valid_until,
        "frozen_at": subscription.frozen_at,
        "quota_bytes": subscription.quota_bytes,
        "devices": subscription.devices,
    }
    until = f"valid until {day(subscription.valid_until)}"
    if subscription.frozen_at is not None:
        until = f"its time stands still since {day(subscription.frozen_at)}"
    what = f"is {done}" if change.changed else f"is as it was: {done} already"
    show(Page(document, (f"subscription {subscription.id} {what}; {until}",)), output)
