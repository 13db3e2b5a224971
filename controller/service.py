"""Composition root: builds panels, runtime and telemetry; every part replaceable by a fake.

The room is reserved: nothing is composed yet. Callers: cli. Not here: rules, SQL, HTTP.
"""
