"""Every value that a label of a metric may take; what is not listed here is no label.

Callers: `metrics`, `collector` and whoever counts. Not here: node names, the one label whose values
are the operator's (and vanish with the node).
"""

from enum import StrEnum

from controller.core.conditions import ConditionType
from controller.core.effects import Verb
from desired_state.model.node import Mode


class Controller(StrEnum):
    """Who works: on nodes, or on jobs. Also the names of the two queues."""

    NODE = "node"
    JOB = "job"


class ReconcileResult(StrEnum):
    """How a turn ended.

    `requeue_after`: more is to be done and nothing was wrong. `blocked`, `stalled`: as the conditions.
    `error`: back-off. `terminal`: repeating cannot help.
    """

    SUCCESS = "success"
    ERROR = "error"
    REQUEUE_AFTER = "requeue_after"
    BLOCKED = "blocked"
    STALLED = "stalled"
    TERMINAL = "terminal"


class Answer(StrEnum):
    """What became of a call to a panel. `auth`: the panel did not take us for logged in."""

    APPLIED = "applied"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    AUTH = "auth"


class Action(StrEnum):
    """What was done to a client. Enabling, disabling, attaching and detaching are updates."""

    CREATE = "create"
    DELETE = "delete"
    UPDATE = "update"
    ADOPT = "adopt"


class KeyState(StrEnum):
    """How many clients of a node are in which state. `orphaned`: live on a node that is not declared."""

    DESIRED = "desired"
    LIVE = "live"
    PENDING = "pending"
    DELETING = "deleting"
    ORPHANED = "orphaned"
    FOREIGN = "foreign"
    QUARANTINED = "quarantined"


class Unschedulable(StrEnum):
    """Why no node may carry a key, coarsely; `keys show` tells it in words."""

    NO_MATCH = "no_match"
    """No node has the labels, or is the pinned one."""
    UNHEALTHY = "unhealthy"
    """The nodes that match are unreachable, stalled, blocked, or their Xray is down."""
    CLOSED = "closed"
    """They are paused, cordoned, draining or orphaned."""
    FULL = "full"
    OTHER = "other"


class SourceFault(StrEnum):
    """Why a revision of manifests was not applied."""

    UNAVAILABLE = "unavailable"
    INVALID = "invalid"
    REFUSED = "refused"
    OTHER = "other"


class DbFault(StrEnum):
    """Which failure of the database."""

    BUSY = "busy"
    CONCURRENT = "concurrent"
    SECRET = "secret"  # noqa: S105 - the kind of a failure
    VERSION = "version"
    OTHER = "other"


class PlanBlocked(StrEnum):
    """Every guard that withholds, by the reason of its condition."""

    TOO_MANY_DELETES = "TooManyDeletes"
    EMPTY_DESIRED = "EmptyDesired"
    TOO_MANY_DISABLED = "TooManyDisabled"
    CLOCK_SKEW = "ClockSkew"
    SHRUNK_OBSERVATION = "ShrunkObservation"
    PANEL_POISONED = "PanelPoisoned"
    IDENTITY_CHANGED = "IdentityChanged"
    STALE_DESIRED = "StaleDesired"
    TORN_LIST = "TornList"
    FIGHTING = "Fighting"
    CUT_OFF = "CutOff"
    TAKEN_OVER = "TakenOver"
    PACED = "Paced"


class DriftKind(StrEnum):
    """What differs. `client`: clients of ours. `inbound`: bound inbounds gone, changed or switched off."""

    CLIENT = "client"
    INBOUND = "inbound"


CONTROLLERS = tuple(Controller)
RESULTS = tuple(ReconcileResult)
ANSWERS = tuple(Answer)
ACTIONS = tuple(Action)
KEY_STATES = tuple(KeyState)
UNSCHEDULABLE = tuple(Unschedulable)
SOURCE_FAULTS = tuple(SourceFault)
DB_FAULTS = tuple(DbFault)
PLAN_BLOCKED = tuple(PlanBlocked)
DRIFT_KINDS = tuple(DriftKind)
CONDITIONS = tuple(ConditionType)
MODES = tuple(Mode)
READS = ("probe", "login", "read")
"""Calls that change nothing on a panel."""
VERBS = (*READS, *(verb.value for verb in Verb))
PRIORITIES = (100, 50, 0, -100)
"""A customer's change, reconcile now, a retry, routine."""
LEASES = ("x3fleet",)
"""What one replica of an installation does for all: jobs that must not run twice."""
SKIPPING_JOBS = ("place", "resync", "alerts", "capacity", "retention")
