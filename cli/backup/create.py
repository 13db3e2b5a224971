"""`x3fleet backup create`: one backup, now.

Not here: making it (`desired_state.store.backup`), backups by schedule (`controller.jobs.backups`).
"""

from cli.backup.documents import contents_blocks, contents_document
from cli.backup.place import read_place
from cli.exits import Exit
from cli.opening import opened_store
from cli.render import Output, OutputOption, Page, show


async def create(*, output: OutputOption = Output.TABLE) -> Exit:
    """Make a backup of our database; a service may be at work."""
    from desired_state.store.backup.making import make_backup, nothing_fetched

    place = read_place()
    async with opened_store() as store:
        made = await make_backup(store, place.folder, place.keys[0], nothing_fetched)
    document = {
        "backup": str(made.path),
        "bytes": made.bytes,
        "key": place.keys[0].id,
        **contents_document(made.contents),
    }
    blocks = (f"{made.path}: {made.bytes} bytes", *contents_blocks(made.contents))
    show(Page(document, blocks), output)
    return Exit.ERROR if made.contents.failed else Exit.DONE
