"""The panel's JSON as pydantic models; camelCase lives here, by alias, and nowhere else.

Not here: behaviour.
"""
