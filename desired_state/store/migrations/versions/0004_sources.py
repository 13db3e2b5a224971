"""Where manifests come from, and how they were found last.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables to this revision."""


def downgrade() -> None:
    """Bring the tables back to the revision before."""
