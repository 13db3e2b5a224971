"""Settings of the controller (`X3FLEET_*`, pydantic-settings). The room is reserved: nothing is set yet.

Callers: service and cli. Not here: what the database holds, a node's address or credentials.
"""
