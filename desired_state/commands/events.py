"""Names of what processes that write desired state log by themselves, with their fields.

Callers: sync, retention, removal. What a person does is kept in the audit instead. Not here: values; a field
never holds a secret.
"""

MANIFEST_LOADED = "manifest_loaded"
"""A revision was applied: source, revision, differences (how many)."""
MANIFEST_REJECTED = "manifest_rejected"
"""A source cannot be used as it is; what was applied stays: source, revision, reason, error, places."""
SOURCE_RECOVERED = "source_recovered"
"""A source that failed is well again: source, revision."""
SOURCE_NOT_STORED = "source_not_stored"
"""The database does not take how a source was found: source, error. The next look tries again."""
DESIRED_PRUNED = "desired_pruned"
"""Rows that nothing needs any more were removed: counts by table."""
PRUNING_FAILED = "pruning_failed"
"""They were not, and will be another time: error."""

NODE_REMOVED = "node_removed"
"""A drained node that no manifest declares had run empty, and is declared no more: node."""
REMOVAL_FAILED = "removal_failed"
"""The database refused to tell which nodes are empty, and is asked again: error."""
