"""The public subscription endpoint. The room is reserved: nothing is served yet.

Belongs here: one read-only URL per subscription. Imports `desired_state` only.
"""
