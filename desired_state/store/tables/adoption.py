"""Tables of adoption: what a panel was found to hold, and what a person took over of it.

Callers: `commands.adoption` writes `adoption`, the controller writes `found_client`; both are read by
either. Not here: rules (`model.adopting`).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from desired_state.store.tables.types import DESIRED, DesiredRow, Sealed, StatusRow


class AdoptionRow(DesiredRow):
    """One client of a panel that became a key's; the credentials stand in `key_generation`.

    `facts`: inbounds, limits and notes as they were found, in the field names of `AdoptedClient`.
    `digest`: of what was shown when it was applied. `released_at`: since when it is foreign again.
    """

    __tablename__ = "adoption"
    __table_args__ = (Index(None, "node"), {"schema": DESIRED})

    key_id: Mapped[str] = mapped_column(ForeignKey(f"{DESIRED}.key.id"), primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    sub_id: Mapped[str]
    secrets_digest: Mapped[str]
    facts: Mapped[dict[str, Any]]
    digest: Mapped[str]
    at: Mapped[datetime]
    released_at: Mapped[datetime | None]
    revision: Mapped[int]


class FoundClientRow(StatusRow):
    """One client that the last inventory of a node showed; the next one replaces all of them.

    `facts`: everything but secrets, in the field names of `FoundClient`. `secrets`: JSON with uuid,
    password, auth and sub_id.
    """

    __tablename__ = "found_client"

    node: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str]
    facts: Mapped[dict[str, Any]]
    secrets: Mapped[Sealed]
    found_at: Mapped[datetime]
