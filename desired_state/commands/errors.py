"""The commands' branch of the error tree: what a person asked for cannot be done.

CommandError             nothing was changed
├── NotFound             there is no such thing
├── AlreadyExists        there is one already
├── Conflict             it contradicts what is
├── KeyUnschedulable     no node may carry the key (reason)
├── PersonBanned         nothing is sold to them
├── PaymentRejected      it contradicts what is recorded of the same charge
└── PlanStale            the approved digest is not the present one
AccessError              the person may not do this; its members come with accounts

Callers: entrances map them by class. Not here: errors of the database (`store.errors`).
"""

from desired_state.model.errors import X3FleetError


class CommandError(X3FleetError):
    """A command refused; nothing was changed."""

    code = "command"


class NotFound(CommandError):
    """There is no such thing.

    Args:
        kind: what was looked for, in the house's words.
        name: its name or id.
        hint: what a person can do about it.
    """

    code = "not_found"

    def __init__(self, kind: str, name: str, *, hint: str | None = None) -> None:
        super().__init__(f"there is no {kind} {name}", hint=hint)
        self.kind = kind
        self.name = name


class AlreadyExists(CommandError):
    """There is one already."""

    code = "already_exists"


class Conflict(CommandError):
    """What was asked for contradicts what is."""

    code = "conflict"


class KeyUnschedulable(CommandError):
    """No node may carry the key; the message says why."""

    code = "key_unschedulable"


class PersonBanned(CommandError):
    """Nothing is sold or given to this person."""

    code = "person_banned"


class PaymentRejected(CommandError):
    """What is said of a charge contradicts what was recorded of it."""

    code = "payment_rejected"


class PlanStale(CommandError):
    """The approved digest is not one that is withheld now."""

    code = "plan_stale"


class AccessError(X3FleetError):
    """The person may not do this."""

    code = "access"
