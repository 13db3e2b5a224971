"""The `x3fleet` command. May import everything, inside functions, so that `--help` stays quick.

Not here: rules and SQL; a command calls `desired_state.commands`, `desired_state.queries` or
`controller.service`.
"""
