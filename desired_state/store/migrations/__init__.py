"""Alembic: the history of the tables. `versions/` is append-only.

Not here: how and when it runs (`store.migrate`).
"""
