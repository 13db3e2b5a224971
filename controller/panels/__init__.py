"""3x-ui over HTTP, and only here: sessions, dialects, wire models, observing, acting.

Not here: decisions about what to change (`controller.core`), metrics (an observer is passed in).
"""
