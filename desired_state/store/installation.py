"""Who we are: the installation's name, its email template and the secrets of its marks.

Callers: commands (prepare), queries and the controller (`read_ownership`). Not here: making it.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ownership import InstallationSecret, Ownership
from desired_state.store.convert import installation_place
from desired_state.store.errors import StoreUnprepared
from desired_state.store.secrets import Vault
from desired_state.store.tables.desired import InstallationRow, InstallationSecretRow


async def read_ownership(session: AsyncSession, vault: Vault) -> Ownership:
    """Read what emails and marks are made with.

    Raises:
        StoreUnprepared: the database has no installation yet.
        SecretUnreadable: it was made with other encryption keys.
    """
    row = await session.get(InstallationRow, 1)
    newest_first = select(InstallationSecretRow).order_by(InstallationSecretRow.version.desc())
    secrets = tuple(
        InstallationSecret(
            found.version, vault.open(found.value, installation_place(found.version))
        )
        for found in await session.scalars(newest_first)
    )
    if row is None or not secrets:
        raise StoreUnprepared("the database has no installation", hint="run x3fleet db upgrade")
    return Ownership(secrets, row.email_template)
