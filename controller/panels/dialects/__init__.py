"""One dialect for each API family: 2.3.15 to 3.0.2, and 3.1.0 on.

Not here: transport and login (`controller.panels.api`), decisions (`controller.core`).
"""
