"""Series of how old the newest backups are, over the last snapshot.

`kind`: database (ours), panels (the databases of all declared nodes' panels). Callers: `collector`. Not here:
reading the database, counting failures (`metrics`).
"""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily

from desired_state.queries.backups import BackupsView

_LAST = "x3fleet_backup_last_success_timestamp_seconds"
_BYTES = "x3fleet_backup_bytes"
_RECOVERY = "x3fleet_recovery_nodes"
BACKUP_NAMES = (_LAST, _BYTES, _RECOVERY)


def show_backups(backups: BackupsView) -> Iterator[GaugeMetricFamily]:
    """Make the series; before the first backup, its age counts from the installation on."""
    last = GaugeMetricFamily(
        _LAST,
        "Of which moment the newest good backup is; at first, when the installation was made.",
        labels=("kind",),
    )
    for kind, moment in (("database", backups.database_at), ("panels", backups.panels_at)):
        if (since := moment or backups.since) is not None:
            last.add_metric((kind,), since.timestamp())
    yield last
    yield GaugeMetricFamily(_BYTES, "Size of the newest good backup.", value=backups.bytes)
    nodes = GaugeMetricFamily(
        _RECOVERY, "Nodes that wait for a person after a restore, by stage.", labels=("stage",)
    )
    for stage, waiting in backups.recovering.items():
        nodes.add_metric((stage,), waiting)
    yield nodes
