"""Jobs beside the turns: placement now; traffic, backups, retention and alerts later.

Not here: panel writes (`controller.runtime`) and writes of desired state.
"""
