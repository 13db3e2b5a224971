"""The rows: `desired` (what we want), `status` (what is), `types` (columns and bases).

Not here: rules, conversion to values of the model (`store.convert`), encryption (`store.secrets`).
"""
