"""Every write of desired state: one function a use case, one transaction each.

Not here: reading for display (`queries`), writes of status (`controller`), panels.
"""
