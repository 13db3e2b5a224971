"""Which real panels this run was given, and of what version each is.

Read from X3FLEET_TEST_PANEL_*, and X3FLEET_TEST_PANEL2_* for a second one, when tests are collected, so
that the version can choose the tests. Callers: `tests.contract.panels.stage` and the tests beside this
file. Not here: writing to a panel (`hand`).
"""

import asyncio
import os
import threading
from dataclasses import dataclass

from controller.core.features import Version, parse_version
from desired_state.model.node import Credentials
from tests.contract.live.hand import Hand

PREFIXES = ("X3FLEET_TEST_PANEL", "X3FLEET_TEST_PANEL2")


class Live(str):
    """The version of a real panel, as text, which also says where it is."""

    address: "Address"
    __slots__ = ("address",)


@dataclass(frozen=True)
class Address:
    """How one real panel is reached. `prefix`: of the variables that told it."""

    prefix: str
    url: str
    credentials: Credentials

    def hand(self) -> Hand:
        """Somebody who works on this panel with an http client of their own."""
        return Hand(self.url, self.credentials)


def addresses() -> tuple[Address, ...]:
    """Every panel that the operator named."""
    return tuple(
        Address(prefix, os.environ[f"{prefix}_URL"].rstrip("/") + "/", _credentials(prefix))
        for prefix in PREFIXES
        if os.environ.get(f"{prefix}_URL")
    )


def _credentials(prefix: str) -> Credentials:
    names = ("token", "username", "password", "totp_secret", "login_secret")
    return Credentials(**{n: os.environ.get(f"{prefix}_{n.upper()}") or None for n in names})


def ask_versions() -> tuple[Live, ...]:
    """Log in to each panel and read its version; fails loudly where that cannot be done."""
    found: list[Live] = []

    async def ask() -> None:
        for address in addresses():
            async with address.hand() as hand:
                live = Live(".".join(str(part) for part in hand.version))
                live.address = address
                found.append(live)

    run(ask())
    assert len(found) == len(addresses()), "a panel of X3FLEET_TEST_PANEL_* did not answer"
    return tuple(found)


def run(work: object) -> None:
    """Run a coroutine where there may be an event loop already: in a thread of its own."""
    failures: list[BaseException] = []

    def main() -> None:
        try:
            asyncio.run(work)  # type: ignore[arg-type] # a coroutine
        except BaseException as error:  # noqa: BLE001 - handed on below
            failures.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def number_of(version: str) -> Version:
    """Read a version that is certainly one."""
    number = parse_version(version)
    assert number is not None
    return number


LIVE = ask_versions() if addresses() else ()
