"""`x3fleet backup list` and `x3fleet backup verify`: which there are, and whether one can be restored.

Neither needs the database. Not here: reading files (`desired_state.store.backup`).
"""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.backup.documents import contents_blocks, contents_document
from cli.backup.place import read_place
from cli.exits import Exit
from cli.render import Grid, Output, OutputOption, Page, Text, Tone, ago, count, show

if TYPE_CHECKING:
    from datetime import datetime

    from desired_state.store.backup.folder import BackupFile

FileArgument = Annotated[
    str, Parameter(name="FILE", help="its path, its name in the folder of backups, or `latest`")
]


async def list_backups(*, output: OutputOption = Output.TABLE) -> Exit:
    """List backups, the newest first; the database is not needed."""
    from desired_state.store.backup import folder
    from desired_state.store.clock import SystemClock

    place = read_place()
    now = SystemClock().now()
    found = folder.list_backups(place.folder, now)
    known = {key.id for key in place.keys}
    document = {
        "folder": str(place.folder),
        "backups": [
            {
                "name": one.name,
                "taken_at": one.taken_at,
                "bytes": one.bytes,
                "schema": one.schema or None,
                "key": one.key_id or None,
                "opens": one.key_id in known,
                "fault": one.fault or None,
            }
            for one in found
        ],
    }
    grid = Grid(
        ("NAME", "AGE", "BYTES", "TABLES AT", "KEY"),
        tuple(_row(one, known, now) for one in found),
        empty=f"no backup in {place.folder}; x3fleet backup create makes one",
    )
    show(Page(document, (grid,)), output)
    return Exit.DONE


async def verify(file: FileArgument = "latest", /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Restore a backup into a scratch database and prove it: rows, secrets, and what contradicts what."""
    from desired_state.queries.check import find_disagreements
    from desired_state.store.backup.folder import find_backup
    from desired_state.store.backup.proving import read_everything, unpacked
    from desired_state.store.clock import SystemClock

    place = read_place()
    path = find_backup(place.folder, file, SystemClock().now())
    async with unpacked(path, place.keys, place.vault, path.absolute().parent) as found:
        read = await read_everything(found.store)
        async with found.store.reading() as session:
            disagreements = await find_disagreements(session, found.contents.taken_at)
    document: dict[str, Any] = {
        "backup": str(path),
        "verified": True,
        **contents_document(found.contents),
        "rows_read": read["rows"],
        "secrets_opened": read["secrets"],
        "disagreements": len(disagreements),
    }
    blocks = (
        *contents_blocks(found.contents),
        Text(
            f"{path.name} can be restored: {count(read['rows'], 'row')} loaded,"
            f" {count(read['secrets'], 'secret')} opened",
            Tone.GOOD,
        ),
    )
    show(Page(document, blocks), output)
    return Exit.DONE


def _row(one: "BackupFile", known: set[str], now: "datetime") -> tuple[Any, ...]:
    if one.fault:
        return one.name, "", one.bytes, "", Text(one.fault, Tone.BAD)
    opens = one.key_id in known
    key = Text(
        one.key_id if opens else f"{one.key_id}, not configured", Tone.PLAIN if opens else Tone.BAD
    )
    return one.name, ago(one.taken_at, now), one.bytes, one.schema, key
