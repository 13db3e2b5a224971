"""Tables of nodes that are gone for good: what a person said, and what was written off for it.

Callers: `commands.forgetting` writes `forgotten_node`, the controller writes `write_off`; both are read by
either. Not here: the tombstones themselves (`remote_generation`).
"""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from desired_state.store.tables.types import DESIRED, DesiredRow, Serial, StatusRow


class ForgottenNodeRow(DesiredRow):
    """A node whose panel a person declared gone for good; what was left there is written off.

    `panel`: host, port and path, to recognise the panel if it comes back under whatever name.
    """

    __tablename__ = "forgotten_node"
    __table_args__ = (Index(None, "node"), {"schema": DESIRED})

    id: Mapped[Serial]
    node: Mapped[str]
    panel: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    actor: Mapped[str]
    at: Mapped[datetime]
    revision: Mapped[int]


class WriteOffRow(StatusRow):
    """What was written off for a forgotten node (`forgotten_node.id`): clients, of so many keys."""

    __tablename__ = "write_off"

    forgotten_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    node: Mapped[str]
    clients: Mapped[int] = mapped_column(default=0)
    keys: Mapped[int] = mapped_column(default=0)
    at: Mapped[datetime]
