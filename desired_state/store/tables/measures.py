"""Tables of what was measured over time.

Callers: the controller writes, `queries` read. Not here: what was measured last, which stands beside what
it is about (`status`); rules.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from desired_state.store.tables.types import StatusRow


class CapacitySampleRow(StatusRow):
    """How many keys were placed on a node at one moment. `labels`: its own then, name to value."""

    __tablename__ = "capacity_sample"

    at: Mapped[datetime] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    keys: Mapped[int]
    labels: Mapped[dict[str, Any]]
