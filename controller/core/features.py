"""What a panel of a version can do: the differences that planning and acting must know.

Pure table after the release notes and sources of 3x-ui v2.3.15 to v3.6.0. Callers: panels (which
detects the version), plan (which chooses the widest call). Not here: paths and JSON.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

Version = tuple[int, int, int]

OLDEST: Version = (2, 3, 15)
NEWEST_VERIFIED: Version = (3, 6, 0)

AES = frozenset({"aes-128-gcm", "aes-256-gcm"})
CIPHERS_OF_2022 = frozenset({
    "2022-blake3-aes-128-gcm", "2022-blake3-aes-256-gcm", "2022-blake3-chacha20-poly1305",
})  # fmt: skip


class Family(StrEnum):
    """How a panel speaks of clients."""

    V2 = "2.x"
    """2.3.15 to 2.9.4: clients live in inbounds, cookie sessions only."""
    V30 = "3.0.x"
    """3.0.0 to 3.0.2: as 2.x, with CSRF and bearer tokens."""
    V31 = "3.1+"
    """3.1.0 on: clients are records attached to inbounds."""


@dataclass(frozen=True, slots=True)
class Features:
    """What one version can do.

    `bulk_create` ... `bulk_attach`: one call takes many members.
    `deletes_by_email`: up to 3.0.2, whether a client is deleted by its email (2.8.0 on) or its credential.
    `keeps_last_client`: refuses to delete the last client of an inbound (up to 3.0.2).
    `readd_doubles`: creating again what was issued and not seen may store it twice (3.0.0 to 3.4.2).
    `one_protocol_attach`: a client must stay on inbounds of one protocol (3.1.0).
    `one_flow`: cannot keep different flows of one client apart (3.1.0 to 3.2.4).
    `poisonable`: an entry without an email makes it refuse creates and renames (up to 3.0.1).
    `reuses_inbound_ids`: 3.2.5 on. `skips_equal`: an update that changes no entry is not done (3.5.0 on).
    `drops_edited`: shadowsocks ciphers whose clients fall out of the running Xray when they are edited or
    switched on, until it is restarted (2.4.7 to 3.4.1; see `restart`).
    `has_hysteria`: knows hysteria 2 (2.9.3 on); `calls_it_hysteria`: by the name of version 1 (3.2.0 on).
    `has_server_api`: its server is asked below `panel/api` (2.7.0 on).
    """

    family: Family
    bulk_create: bool = False
    bulk_delete: bool = False
    bulk_enable: bool = False
    bulk_attach: bool = False
    deletes_by_email: bool = True
    keeps_last_client: bool = False
    readd_doubles: bool = False
    one_protocol_attach: bool = False
    one_flow: bool = False
    poisonable: bool = False
    reuses_inbound_ids: bool = False
    skips_equal: bool = False
    has_comment: bool = True
    has_group: bool = False
    drives_sub_nodes: bool = False
    drops_edited: frozenset[str] = frozenset()
    has_server_api: bool = True
    has_hysteria: bool = True
    calls_it_hysteria: bool = False

    @property
    def email_per_inbound(self) -> bool:
        """Whether each inbound has a client, and an email, of its own."""
        return self.family is not Family.V31


@lru_cache(maxsize=256)
def features_of(version: Version, *, drives_sub_nodes: bool = False) -> Features:
    """Tell what a version can do; a newer one than `NEWEST_VERIFIED` is taken for that one."""
    if version < (3, 1, 0):
        return Features(
            family=Family.V30 if version >= (3, 0, 0) else Family.V2,
            bulk_create=True,
            deletes_by_email=version >= (2, 8, 0),
            keeps_last_client=True,
            readd_doubles=version >= (3, 0, 0),
            poisonable=version < (3, 0, 2),
            has_comment=version >= (2, 4, 11),
            drops_edited=_drops_edited(version),
            has_server_api=version >= (2, 7, 0),
            has_hysteria=version >= (2, 9, 3),
            drives_sub_nodes=drives_sub_nodes,
        )
    return Features(
        family=Family.V31,
        bulk_create=version >= (3, 2, 0),
        bulk_delete=version >= (3, 2, 0),
        bulk_enable=version >= (3, 4, 1),
        bulk_attach=version >= (3, 2, 0),
        readd_doubles=version < (3, 5, 0),
        one_protocol_attach=version < (3, 2, 0),
        one_flow=version < (3, 2, 5),
        reuses_inbound_ids=version >= (3, 2, 5),
        skips_equal=version >= (3, 5, 0),
        has_group=version >= (3, 2, 0),
        calls_it_hysteria=version >= (3, 2, 0),
        drops_edited=_drops_edited(version),
        drives_sub_nodes=drives_sub_nodes,
    )


def _drops_edited(version: Version) -> frozenset[str]:
    # QUIRK(edited-shadowsocks-dropped, 3x-ui 2.4.7 to 3.4.1): an edit takes the client out of the
    # running Xray and puts it back as a kind of account that Xray does not know; that fails, and what
    # the panel would start Xray with has not changed, so that it finds no need to restart it.
    if not (2, 4, 7) <= version < (3, 4, 2):
        return frozenset()
    if version < (2, 9, 3):
        return CIPHERS_OF_2022
    # These were handed over as 2022 ones by mistake: both for a while, then the shorter alone.
    return CIPHERS_OF_2022 | (AES if version < (3, 1, 0) else AES - {"aes-256-gcm"})


def parse_version(text: str) -> Version | None:
    """Read `v3.2.8` or `3.2.8`; None when it is no version."""
    parts = text.strip().removeprefix("v").split("-")[0].split(".")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])
