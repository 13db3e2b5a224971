"""Read models: frozen values for bot, admin, cli and controller.

Not here: writes of any kind.
"""
