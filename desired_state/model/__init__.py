"""Frozen values and pure rules: nodes, tariffs, keys, generations, ownership marks.

Not here: clocks, randomness, I/O, pydantic, SQLAlchemy. `now` is always an argument.
"""
