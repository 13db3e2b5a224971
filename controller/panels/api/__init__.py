"""One panel's HTTP session: login, tokens, TLS, envelope, outcomes, errors.

Not here: what a call means for clients and inbounds (`controller.panels.dialects`).
"""
