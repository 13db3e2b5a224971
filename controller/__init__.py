"""How we get there: the only package that talks to panels and writes status.

Not here: writes of desired state; they go through `desired_state.commands`.
"""
