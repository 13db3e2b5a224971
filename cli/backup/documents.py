"""A backup as JSON and as text: what `create`, `list` and `verify` show.

Pure. Callers: the commands beside this file. Not here: reading files.
"""

from typing import TYPE_CHECKING, Any

from cli.render import Block, Grid, Text, Tone, count

if TYPE_CHECKING:
    from desired_state.store.backup.contents import Contents, PanelPart

_TONES = {"checked": Tone.GOOD, "unchecked": Tone.WARN, "failed": Tone.BAD, "skipped": Tone.DIM}


def contents_document(contents: "Contents") -> dict[str, Any]:
    """Make the JSON of what is inside."""
    return {
        "taken_at": contents.taken_at,
        "installation": contents.installation,
        "schema": contents.schema,
        "revision": contents.revision,
        "engine": contents.engine,
        "rows": sum(contents.tables.values()),
        "nodes": [panel_document(panel) for panel in contents.panels],
    }


def panel_document(panel: "PanelPart") -> dict[str, Any]:
    """Make the JSON of one panel's database."""
    return {
        "node": panel.node,
        "state": panel.state.value,
        "reason": panel.reason or None,
        "version": panel.version or None,
        "bytes": 0 if panel.part is None else panel.part.bytes,
        "clients": panel.clients,
    }


def contents_blocks(contents: "Contents") -> tuple[Block, ...]:
    """Tell what is inside."""
    rows = sum(contents.tables.values())
    told = (
        f"our database of {contents.taken_at:%Y-%m-%d %H:%M:%S} UTC: {count(rows, 'row')},"
        f" tables at {contents.schema}, revision {contents.revision}"
    )
    blocks: list[Block] = [told]
    if contents.panels:
        blocks.append(
            Grid(
                ("PANEL OF", "STATE", "BYTES", "CLIENTS", "WHY"),
                tuple(
                    (
                        panel.node,
                        Text(panel.state.value, _TONES[panel.state.value]),
                        0 if panel.part is None else panel.part.bytes,
                        "" if panel.clients is None else str(panel.clients),
                        panel.reason,
                    )
                    for panel in contents.panels
                ),
            )
        )
    return tuple(blocks)
