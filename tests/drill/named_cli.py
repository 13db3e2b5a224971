"""`python -m tests.drill.named_cli ...`: the `x3fleet` command, with a name that panels see.

The name stands in the environment (`CALLED`). Panels keep it in their request logs, so that an audit can
tell which of several controllers sent a request. Nothing else of the command is touched.
"""

import os
import sys

import httpx

from cli.main import main

CALLED = "CALLED"


def sign(name: str) -> None:
    """Send this name with every request of the process."""
    build = httpx.AsyncClient.build_request

    def signed(client: httpx.AsyncClient, *given: object, **options: object) -> httpx.Request:
        request = build(client, *given, **options)  # type: ignore[arg-type] # as they were given
        request.headers["User-Agent"] = name
        return request

    httpx.AsyncClient.build_request = signed  # type: ignore[method-assign, assignment] # on purpose


if __name__ == "__main__":
    sign(os.environ[CALLED])
    sys.exit(main())
