"""Tables: `desired` (written by commands) and `status` (written by the controller).

Not here: queries and rules. Names are unique over both groups, since SQLite has one namespace.
"""
