"""Making the installation: its name, its email template and the first secret of its marks.

Callers: `x3fleet db upgrade`, after the migrations. Not here: reading it (`store.installation`).
"""

from dataclasses import dataclass

from sqlalchemy import select

from desired_state.commands.errors import Conflict
from desired_state.commands.ids import draw_id
from desired_state.model.ids import Revision
from desired_state.model.ownership import DEFAULT_TEMPLATE, check_template
from desired_state.store.convert import installation_place
from desired_state.store.installation import read_ownership
from desired_state.store.tables.desired import InstallationRow, InstallationSecretRow
from desired_state.store.tables.status import RemoteGenerationRow
from desired_state.store.unit_of_work import UnitOfWork

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Prepared:
    """The installation's name, and whether it was made just now."""

    name: str
    created: bool


async def prepare(work: UnitOfWork) -> Prepared:
    """Make the installation once; later calls prove that its secrets can be read.

    Raises:
        SecretUnreadable: the database was made with other encryption keys.
    """
    row = await work.session.get(InstallationRow, 1)
    if row is not None:
        await read_ownership(work.session, work.vault)
        return Prepared(row.name, created=False)
    await work.revise()
    name = draw_id(work.randomness)
    secret = work.vault.seal(work.randomness.draw(SECRET_BYTES), installation_place(1))
    work.session.add_all(
        [
            InstallationRow(id=1, name=name, email_template=DEFAULT_TEMPLATE, created_at=work.now),
            InstallationSecretRow(version=1, value=secret, created_at=work.now),
        ]
    )
    work.audit("installation_prepared", f"installation/{name}")
    return Prepared(name, created=True)


async def set_email_template(work: UnitOfWork, template: str) -> Revision | None:
    """Change how emails on panels are made, as long as no panel holds one.

    Returns:
        The revision; None when the template is that already.

    Raises:
        InvalidValue: panels could not address such emails.
        Conflict: clients with the present template exist; their emails would be strangers.
    """
    check_template(template)
    row = await work.session.get_one(InstallationRow, 1)
    if row.email_template == template:
        return None
    if await work.session.scalar(select(RemoteGenerationRow.email).limit(1)) is not None:
        raise Conflict(
            f"the email template cannot change from {row.email_template}: clients carry it already",
            hint="revoke every key first, or keep the template",
        )
    revision = await work.revise()
    work.audit("email_template_set", f"installation/{row.name}", template=template)
    row.email_template = template
    return revision
