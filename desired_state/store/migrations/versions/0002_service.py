"""The service's own state: back-off, health, progress of requests.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables to this revision."""


def downgrade() -> None:
    """Bring the tables back to the revision before."""
