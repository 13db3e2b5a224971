"""Kinds of disagreements between the shop, desired keys and panels: who wins each, why, what to do.

Pure. Callers: `queries.check` and its parts, whoever shows them. Not here: finding them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Winner(StrEnum):
    """Whose word holds in the end."""

    SHOP = "shop"
    """What was sold and paid: desired keys are to follow."""
    DESIRED = "desired"
    """What is wanted: the controller makes panels follow, without anybody's doing."""
    PERSON = "a person"
    """Nobody wins by itself: somebody decides."""


class Kind(StrEnum):
    """What contradicts what."""

    PAYMENT_WITHOUT_CREDIT = "payment-without-credit"
    REFUND_NOT_MADE = "refund-not-made"
    REFUNDED_AND_KEPT = "refunded-and-kept"
    FULFILLED_WITHOUT_PAYMENT = "fulfilled-without-payment"
    PAID_WITHOUT_KEY = "paid-without-key"
    SUBSCRIPTION_WITHOUT_KEY = "subscription-without-key"
    BAN_NOT_CARRIED = "ban-not-carried"
    KEY_WITHOUT_SUBSCRIPTION = "key-without-subscription"
    KEY_WITHOUT_NODE = "key-without-node"
    BANNED_BUT_SERVED = "banned-but-served"
    ENDED_BUT_SERVED = "ended-but-served"
    IN_FORCE_BUT_OFF = "in-force-but-off"
    NOT_ON_PANEL = "not-on-panel"
    DELETE_OWED = "delete-owed"
    ON_UNKNOWN_NODE = "on-unknown-node"
    FEWER_ON_PANEL = "fewer-on-panel"
    DRIFT_ON_PANEL = "drift-on-panel"
    UNKNOWN_KEYS_ON_PANEL = "unknown-keys-on-panel"


@dataclass(frozen=True, slots=True)
class Rule:
    """Of a kind: who wins, why, and what a person does about it ("" where nothing is to be done)."""

    winner: Winner
    why: str
    hint: str = ""


_NEXT = "x3fleet reconcile now does it at once"
RULES: Mapping[Kind, Rule] = MappingProxyType(
    {
        Kind.PAYMENT_WITHOUT_CREDIT: Rule(
            Winner.PERSON,
            "the money was taken, and nothing was given for it",
            "x3fleet payments record --purchase names what it is for, x3fleet payments refund gives it back",
        ),
        Kind.REFUND_NOT_MADE: Rule(
            Winner.SHOP,
            "a refund was decided, and the provider has not said that it was made",
            "see to it at the provider, then x3fleet payments record --refunded",
        ),
        Kind.REFUNDED_AND_KEPT: Rule(
            Winner.PERSON,
            "it was given back, and what it bought could not be taken back",
            "x3fleet subscriptions change, freeze or extend puts right what is right",
        ),
        Kind.FULFILLED_WITHOUT_PAYMENT: Rule(
            Winner.PERSON,
            "something was given that has a price, and no payment was credited",
            "x3fleet payments record, if it was paid; x3fleet subscriptions freeze, if not",
        ),
        Kind.PAID_WITHOUT_KEY: Rule(
            Winner.SHOP,
            "what is paid is owed",
            "x3fleet keys issue --subscription gives a key, x3fleet subscriptions refund the money",
        ),
        Kind.SUBSCRIPTION_WITHOUT_KEY: Rule(
            Winner.PERSON,
            "it is in force and somebody's, nobody paid for it, and it never had a key",
            "x3fleet keys issue --subscription gives it one",
        ),
        Kind.BAN_NOT_CARRIED: Rule(
            Winner.SHOP,
            "a ban is said of the person, and each subscription follows",
            "x3fleet people unban and ban say it anew",
        ),
        Kind.KEY_WITHOUT_SUBSCRIPTION: Rule(
            Winner.PERSON,
            "nothing says whose it is: its clients are switched off, and none is deleted for it",
            "restore the database that knows it, or x3fleet keys revoke",
        ),
        Kind.KEY_WITHOUT_NODE: Rule(
            Winner.DESIRED,
            "the scheduler places it as soon as a node may carry it",
            "x3fleet keys show says why none may",
        ),
        Kind.BANNED_BUT_SERVED: Rule(
            Winner.DESIRED, "the next turn of the node switches it off", _NEXT
        ),
        Kind.ENDED_BUT_SERVED: Rule(
            Winner.DESIRED, "the next turn of the node switches it off", _NEXT
        ),
        Kind.IN_FORCE_BUT_OFF: Rule(
            Winner.DESIRED, "the next turn of the node switches it on", _NEXT
        ),
        Kind.NOT_ON_PANEL: Rule(
            Winner.DESIRED,
            "the next turn of the node creates it",
            "x3fleet keys show says what it waits for",
        ),
        Kind.DELETE_OWED: Rule(
            Winner.DESIRED,
            "it is deleted and proved gone before anything takes its place",
            "x3fleet moves list shows what is owed, and how long",
        ),
        Kind.ON_UNKNOWN_NODE: Rule(
            Winner.PERSON,
            "the node is declared no more, so that nobody is let in to delete it",
            "declare the node again and drain it",
        ),
        Kind.FEWER_ON_PANEL: Rule(
            Winner.DESIRED,
            "the journal remembers more clients than the last look could vouch for",
            "x3fleet nodes show tells what hinders; x3fleet approve, if a guard asks",
        ),
        Kind.DRIFT_ON_PANEL: Rule(
            Winner.DESIRED, "what was changed by hand is put back, unless somebody insists", _NEXT
        ),
        Kind.UNKNOWN_KEYS_ON_PANEL: Rule(
            Winner.PERSON,
            "our database may be the old one: nothing of it is ever deleted by itself",
            "restore the newer database, or delete them on the panel",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One of them. `subject` reads `kind/name`; `message`: both sides of it, in one sentence."""

    kind: Kind
    subject: str
    message: str

    @property
    def rule(self) -> Rule:
        """Who wins it, and why."""
        return RULES[self.kind]
