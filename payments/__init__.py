"""Payment providers. The room is reserved: no provider exists yet.

Belongs here: the provider protocol, its adapters and webhooks.
Imports `desired_state` only; only `admin` and `bot` import it.
"""
