"""Where manifests come from: a directory now; a branch of a git repository joins it later.

Not here: parsing and validation (`loader`), applying (`desired_state.commands`).
"""
