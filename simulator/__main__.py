"""`python -m simulator`: one panel on loopback until SIGTERM, or several of one version.

Prints one JSON line for each when it listens: `{"url", "control_url", "version"}`.
Not here: panels of several versions at once; the command line of the project does that.
"""

import argparse
import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack

from simulator.app import Panel, PanelOptions, create_panel
from simulator.demo import seed_demo
from simulator.server import running


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator", description="A fake 3x-ui panel.")
    parser.add_argument("--version", required=True, help="such as 2.9.4")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--control-port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--base-path", default="/")
    parser.add_argument("--username", default="admin")
    parser.add_argument("--password", default="admin")
    parser.add_argument("--token")
    parser.add_argument("--totp-secret")
    parser.add_argument("--login-secret")
    parser.add_argument("--xray-state", default="running", choices=["running", "stop", "error"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1, help="panels, each with the next seed")
    parser.add_argument("--seed-inbounds", choices=["demo"])
    parsed = parser.parse_args(arguments)
    if parsed.count > 1 and (parsed.port or parsed.control_port):
        parser.error("several panels take free ports: leave out --port and --control-port")
    return parsed


def _panel(arguments: argparse.Namespace, number: int) -> Panel:
    options = PanelOptions(
        base_path=arguments.base_path,
        username=arguments.username,
        password=arguments.password,
        token=arguments.token,
        totp_secret=arguments.totp_secret,
        login_secret=arguments.login_secret,
        xray_state=arguments.xray_state,
    )
    panel = create_panel(arguments.version, seed=arguments.seed + number, options=options)
    if arguments.seed_inbounds == "demo":
        seed_demo(panel)
    return panel


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ports = {"port": arguments.port, "control_port": arguments.control_port}
    async with AsyncExitStack() as stack:
        for nth in range(arguments.count):
            panel = _panel(arguments, nth)
            served = await stack.enter_async_context(running(panel, host=arguments.host, **ports))
            line = {
                "url": served.url,
                "control_url": served.control_url,
                "version": str(served.panel.version),
            }
            sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run the panels; give the exit code."""
    asyncio.run(_run(_parse(sys.argv[1:] if arguments is None else arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
