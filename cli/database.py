"""`x3fleet db upgrade`, `x3fleet db grants` and `x3fleet secrets rotate`.

Not here: migrations (`desired_state.store.migrate`), the rights of each role (`desired_state.store.roles`),
encryption (`desired_state.store`).
"""

import sys
from typing import Annotated

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import ACTOR, opened_store, require_folder, shown_url
from cli.render import Output, OutputOption, Page, count, show


async def upgrade(*, output: OutputOption = Output.TABLE) -> Exit:
    """Make the database, or bring it to this release."""
    from desired_state.commands.installation import prepare
    from desired_state.store import migrate
    from desired_state.store.engine import open_store
    from desired_state.store.keyring import key_file
    from desired_state.store.settings import load_store_settings
    from desired_state.store.unit_of_work import begin
    from desired_state.store.version import current

    settings = load_store_settings()
    require_folder(settings)
    async with open_store(settings) as store:
        before = await current(store)
        after = await migrate.upgrade(store)
        async with begin(store, ACTOR) as work:
            installation = await prepare(work)
    document = {
        "database": shown_url(settings),
        "before": before,
        "after": after,
        "installation": installation.name,
        "created": installation.created,
    }
    lines = [_told(before, after)]
    keys = key_file(settings)
    if installation.created and keys is not None and not settings.encryption_keys:
        lines.append(f"its encryption keys are in {keys.absolute()}: back both up, apart")
    show(Page(document, tuple(lines)), output)
    return Exit.DONE


async def grants(
    *,
    apply: Annotated[
        bool, Parameter(name="--apply", help="run them in the database of the settings")
    ] = False,
    prefix: Annotated[
        str, Parameter(help="what the roles' names begin with; they hold for the whole server")
    ] = "x3fleet",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Print the SQL that makes the PostgreSQL roles and gives each its part, or run it.

    Run it as the owner of the tables, after `db upgrade`; running it again changes nothing.
    """
    from desired_state.store import roles

    chosen = roles.Roles(prefix)
    statements = roles.grants(chosen)
    document = {
        "roles": {
            "front_end": chosen.front_end,
            "controller": chosen.controller,
            "subscription": chosen.subscription,
        },
        "applied": apply,
        "statements": list(statements),
    }
    if not apply:
        script = "\n".join(("BEGIN;", *(f"{statement};" for statement in statements), "COMMIT;"))
        if output is Output.JSON:
            show(Page(document), output)
        else:
            # As it is: a window's width must not fold what is piped or pasted into psql.
            sys.stdout.write(f"{script}\n")
        return Exit.DONE
    async with opened_store() as store:
        await roles.apply_grants(store, chosen)
    told = f"{', '.join(chosen.all)} have their rights; CREATE ROLE NAME LOGIN IN ROLE ... uses one"
    show(Page(document, (told,)), output)
    return Exit.DONE


async def rotate(*, output: OutputOption = Output.TABLE) -> Exit:
    """Encrypt every stored secret with the newest key.

    Put the new key first, keep the old ones behind it, run this, then remove the old ones.
    """
    from desired_state.store.rotation import rotate_secrets

    async with opened_store() as store:
        rotation = await rotate_secrets(store)
    lines = (
        f"{count(rotation.seen, 'secret')} looked at, {rotation.renewed} encrypted anew",
        "older keys are needed no more, but for backups made before",
    )
    show(Page({"seen": rotation.seen, "renewed": rotation.renewed}, lines), output)
    return Exit.DONE


def _told(before: str | None, after: str) -> str:
    if before == after:
        return f"the database is up to date, at {after}"
    if before is None:
        return f"the database is made, at {after}"
    return f"the database is upgraded from {before} to {after}"
