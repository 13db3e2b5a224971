"""Replicas and their leases of nodes.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables to this revision."""


def downgrade() -> None:
    """Bring the tables back to the revision before."""
