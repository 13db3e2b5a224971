"""Where manifests come from: a directory, or a branch of a git repository.

Not here: parsing and validation (`loader`), applying (`desired_state.commands`).
"""
