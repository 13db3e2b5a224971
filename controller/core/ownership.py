"""Whose client is it: journal, mark and credentials together.

Step: before diff. Callers: diff, guards. Not here: what is done about it.
"""

from controller.core.binding import Survey
from controller.core.desired import Desired
from controller.core.observed import Observation, ObservedClient
from desired_state.model.credentials import digest_secret
from desired_state.model.generation import JournalRow
from desired_state.model.ids import KeyId
from desired_state.model.ownership import EmailParts, Ownership


def is_ours_by_row(client: ObservedClient, row: JournalRow) -> bool:
    """Tell whether a client with a row's email is the one that the row speaks of.

    Either what we wrote as subId or one of the credentials must still be there: a person may have
    changed the other. With neither, somebody else's client took our email.
    """
    if row.sub_id and client.sub_id == row.sub_id:
        return True
    known = {part for part in row.secrets_digest.split(".") if part}
    held = (client.uuid, client.password, client.auth)
    return any(value and digest_secret(value) in known for value in held)


def read_mark(client: ObservedClient, ownership: Ownership) -> EmailParts | None:
    """Return what an email of ours says when its mark verifies too; None for everybody else's."""
    parts = ownership.parse(client.email)
    if parts is None or not ownership.is_marked(client.email, client.sub_id):
        return None
    return parts


def served_keys(survey: Survey, desired: Desired, look: Observation) -> frozenset[KeyId]:
    """Return keys whose present generation is seen, switched on, at an inbound that is bound and on."""
    current = {key.key: key.generation for key in desired.keys}
    rows = {
        row.email.lower(): row
        for row in desired.journal
        if row.key is not None and current.get(row.key) == row.generation
    }
    return frozenset(
        row.key
        for client in look.clients
        if client.enable and survey.usable.intersection(client.inbound_ids)
        if (row := rows.get(client.email.lower())) is not None and row.key is not None
        if is_ours_by_row(client, row)
    )
