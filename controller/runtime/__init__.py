"""Executing turns: the worker of effects, reads and records of the database, locks.

Not here: decisions (`controller.core`), HTTP details (`controller.panels`).
"""
