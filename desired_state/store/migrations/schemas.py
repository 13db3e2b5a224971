"""What migrations need on both databases: the name of a group of tables, and references into it.

On SQLite both groups are one flat namespace; on PostgreSQL they are the schemas `desired` and
`status`. Callers: revisions in `versions/`. Not here: tables.
"""

from alembic import op


def schema_of(group: str) -> str | None:
    """The schema of a group: its name on PostgreSQL, None on SQLite."""
    return None if op.get_context().dialect.name == "sqlite" else group


def ref(group: str, column: str) -> str:
    """The target of a foreign key: `ref("desired", "key.id")`."""
    schema = schema_of(group)
    return column if schema is None else f"{schema}.{column}"
