"""When a node was seen well last, kept only where somebody waits for that.

Callers: the controller writes, `queries` read. Not here: how recent a look has to be (`scheduling.proofs`).
"""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from desired_state.store.tables.types import StatusRow


class SightRow(StatusRow):
    """The last good look that was asked for, at a node that keys leave others for.

    `asked_at`, `seen_at`: by the database's clock, so that every replica tells its age alike.
    `confirms_until`: all that was recorded of the node until then was seen by that look, by the clock of
    whoever recorded it.
    """

    __tablename__ = "sight"

    node: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime]
    seen_at: Mapped[datetime | None]
    confirms_until: Mapped[datetime | None]
