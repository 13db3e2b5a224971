"""Tables of declared inbounds: what is declared, and what became of it on each node.

Callers: `commands.inbounds` writes `declared_inbound`, the controller writes `managed_inbound`; both are
read by either. Not here: rules (`controller.core.declared`), keys and passwords of servers: nobody
keeps those.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from desired_state.store.tables.types import DesiredRow, StatusRow


class DeclaredInboundRow(DesiredRow):
    """An inbound that the nodes of its selector are to have. `spec`: the whole `InboundSpec`.

    `orphaned`: no manifest declares it any more; kept as long as a node has it.
    """

    __tablename__ = "declared_inbound"

    name: Mapped[str] = mapped_column(primary_key=True)
    spec: Mapped[dict[str, Any]]
    source: Mapped[str] = mapped_column(default="")
    orphaned: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int]


class ManagedInboundRow(StatusRow):
    """A declared inbound on one node, in the field names of `ManagedInbound`.

    `inbound_id`: None while no look has shown it. `sent_at`: of a create that no look has proved.
    `tried_at`, `tried_digest`: the last write that did not bring about what was declared, and of what.
    `reason`, `message`: why it is not as declared; "" where it is.
    """

    __tablename__ = "managed_inbound"

    node: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    message: Mapped[str] = mapped_column(default="")
    inbound_id: Mapped[int | None]
    protocol: Mapped[str] = mapped_column(default="")
    port: Mapped[int] = mapped_column(default=0)
    tag: Mapped[str] = mapped_column(default="")
    remark: Mapped[str] = mapped_column(default="")
    sent_at: Mapped[datetime | None]
    tried_at: Mapped[datetime | None]
    tried_digest: Mapped[str] = mapped_column(default="")
    changed_at: Mapped[datetime]
