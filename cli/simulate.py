"""`x3fleet simulate`: one simulated panel in the foreground.

Not here: the panel itself (`simulator`), several of them (`demo`).
"""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from cli.exits import Exit
from cli.render import Output, OutputOption, Page, show
from desired_state.model.errors import ConfigError


async def simulate(
    *,
    version: Annotated[str, Parameter(help="of 3x-ui, 2.3.15 to 3.6.0")],
    port: Annotated[int, Parameter(help="of the panel; 0 takes a free one")] = 0,
    control_port: Annotated[int, Parameter(help="of faults and damage; 0: a free one")] = 0,
    base_path: Annotated[str, Parameter(help="the panel's base path")] = "/",
    login: Annotated[str, Parameter(help="NAME:PASSWORD")] = "admin:admin",
    token: Annotated[str | None, Parameter(help="a bearer token, from 3.0.0 on")] = None,
    inbounds: Annotated[bool, Parameter(help="with some inbounds and clients")] = False,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Serve one simulated 3x-ui panel on loopback until Ctrl-C."""
    from simulator.app import PanelOptions, create_panel
    from simulator.demo import seed_demo
    from simulator.server import running

    username, _, password = login.partition(":")
    options = PanelOptions(base_path=base_path, username=username, password=password, token=token)
    try:
        panel = create_panel(version, options=options)
    except ValueError as error:
        raise ConfigError(f"--version {version}: {error}") from error
    if inbounds:
        seed_demo(panel)
    try:
        async with running(panel, port=port, control_port=control_port) as served:
            document = {
                "url": served.url,
                "control_url": served.control_url,
                "version": version,
            }
            lines = (
                f"3x-ui {version} answers at {served.url}",
                f"faults and damage by hand: {served.control_url}, see docs/simulator.md",
                "Ctrl-C ends it",
            )
            show(Page(document, lines), output)
            await asyncio.Event().wait()
    except OSError as error:
        raise ConfigError(
            f"port {port or control_port} cannot be listened on: {error.strerror}",
            hint="0 takes a free one",
        ) from error
    return Exit.DONE
