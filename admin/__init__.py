"""Operators' HTTP API and web pages. The room is reserved: nothing is served yet.

Belongs here: FastAPI app, pages, sessions, roles.
Imports `desired_state` and `payments` only; never a panel.
"""
