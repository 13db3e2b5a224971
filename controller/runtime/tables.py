"""The tables that turns read and write thousands of rows of.

Core tables instead of mapped classes: a turn reads 50,000 keys as plain tuples and stores rows in
bulk (`store.bulk`). Callers: `reads`, `keys_here`, `records`. Not here: what is written.
"""

from typing import cast

from sqlalchemy import Table

from desired_state.store.tables import adoption, desired, inbounds, status

INBOUND = cast("Table", status.InboundRow.__table__)
NODE_STATUS = cast("Table", status.NodeStatusRow.__table__)
PLACEMENT = cast("Table", status.PlacementRow.__table__)
JOURNAL = cast("Table", status.RemoteGenerationRow.__table__)
KEY_USAGE = cast("Table", status.KeyUsageRow.__table__)
DELETE_BUDGET = cast("Table", status.DeleteBudgetRow.__table__)
REQUEST_ANSWER = cast("Table", status.RequestAnswerRow.__table__)
REQUEST_PROGRESS = cast("Table", status.RequestProgressRow.__table__)
CYCLE = cast("Table", status.CycleRow.__table__)
EVENT = cast("Table", status.EventRow.__table__)
HEAL = cast("Table", status.HealRow.__table__)
APPROVAL_STARTED = cast("Table", status.ApprovalStartedRow.__table__)

REVISION = cast("Table", desired.RevisionCounterRow.__table__)
KEY = cast("Table", desired.KeyRow.__table__)
KEY_GENERATION = cast("Table", desired.KeyGenerationRow.__table__)
SUBSCRIPTION = cast("Table", desired.SubscriptionRow.__table__)
REQUEST = cast("Table", desired.RequestRow.__table__)
WAKE = cast("Table", desired.WakeRow.__table__)
PLAN_APPROVAL = cast("Table", desired.PlanApprovalRow.__table__)
ADOPTION = cast("Table", adoption.AdoptionRow.__table__)
FOUND_CLIENT = cast("Table", adoption.FoundClientRow.__table__)
DECLARED_INBOUND = cast("Table", inbounds.DeclaredInboundRow.__table__)
MANAGED_INBOUND = cast("Table", inbounds.ManagedInboundRow.__table__)

AT_ONCE = 500
"""Values in one IN list; well below every database's limit of parameters."""
