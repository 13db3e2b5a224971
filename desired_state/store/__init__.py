"""SQLAlchemy: tables of desired state and of status, engine, unit of work, secrets, migrations.

Not here: use cases (`commands`), read models (`queries`), anything about panels.
"""
