"""YAML manifests: kinds, loading with file:line:column, rules across documents, sources.

Not here: the database and panels; secret references are parsed here and resolved by the controller.
"""
