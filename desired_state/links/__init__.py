"""Pure rendering of share links and subscription formats.

Not here: HTTP endpoints (`subscription`), reading rows (`desired_state.queries`).
"""
