"""Logs, metrics and health endpoints of the controller.

Not here: anything that changes what the controller does.
"""
