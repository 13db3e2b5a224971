"""The `x3fleet` command: which commands there are, parsing, running one, its exit code.

Commands are named by import path and loaded when one of them is called, so `--help` of any of them
loads neither database nor HTTP. Callers: the `x3fleet` script, `python -m cli`, the demo. Not here:
what commands do.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from inspect import BoundArguments, isawaitable
from types import FrameType
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from cli.exits import Exit, is_ours, report_error, report_usage
from cli.render import Output
from desired_state.model.errors import X3FleetError

GROUPS = {
    "db": "The database.",
    "manifests": "What is declared in YAML: check it, compare it, apply it.",
    "keys": "What people hold: issue, rotate, move, revoke, and why a key is not on a node.",
    "people": "Who buys, and who may not.",
    "subscriptions": "What people bought: sell, extend, freeze, refund, and what is left of it.",
    "payments": "What was paid, and what became of it.",
    "purchases": "What was ordered, and how far each order came.",
    "nodes": "Servers and their panels.",
    "backup": "Backups: make, prove, restore, and what a restored database may do.",
    "inbounds": "Listeners that are declared: created on panels that lack them.",
    "moves": "Keys on their way between nodes.",
    "replicas": "Controllers that work on this database.",
    "reconcile": "Make panels as they should be.",
    "notifications": "What people were told, and its way to webhooks.",
    "config": "Settings.",
    "secrets": "Secrets at rest.",
}

COMMANDS = (
    ("demo", "cli.demo.command:demo", "Run the main job on three simulated panels."),
    (
        "demo-fleet",
        "cli.demo.fleet.command:demo_fleet",
        "Let twenty simulated panels die, return, be wiped, drained and filled.",
    ),
    ("simulate", "cli.simulate:simulate", "Serve one simulated 3x-ui panel until Ctrl-C."),
    ("sync", "cli.sync:sync", "Apply manifests from their source, until SIGTERM."),
    ("run", "cli.roles:run", "Do everything in one process, until SIGTERM."),
    ("controller", "cli.roles:controller", "Keep panels as they should be, until SIGTERM."),
    ("plan", "cli.reconcile:plan", "Show what reconcile would do; exits 2 on drift, 3 if blocked."),
    ("reconcile now", "cli.reconcile:now", "Make panels as they should be, and prove it."),
    ("approve", "cli.reconcile:approve", "Let pass what a guard withholds under a digest."),
    (
        "doctor",
        "cli.doctor.command:doctor",
        "Check settings, database, every panel, every address.",
    ),
    (
        "check",
        "cli.check:check",
        "Name what shop, keys and panels disagree in; exits 2 if anything.",
    ),
    ("db upgrade", "cli.database:upgrade", "Make the database, or bring it to this release."),
    ("db grants", "cli.database:grants", "Print, or apply, the rights of the PostgreSQL roles."),
    ("config show", "cli.config:show_settings", "Show the settings in force; secrets are masked."),
    ("secrets rotate", "cli.database:rotate", "Encrypt every stored secret with the newest key."),
    ("manifests validate", "cli.manifests:validate", "Check manifests; needs no database."),
    (
        "manifests diff",
        "cli.manifests:diff",
        "Show what applying would change; exits 2 if anything.",
    ),
    ("manifests apply", "cli.manifests:apply", "Make the database say what the manifests say."),
    (
        "manifests status",
        "cli.sync:status",
        "Show what was fetched and applied, and what is wrong; exits 2 if anything.",
    ),
    (
        "manifests transfer",
        "cli.sync:transfer",
        "Let the source of the settings own what another declared.",
    ),
    (
        "manifests schema",
        "cli.manifests:schema",
        "Print the JSON Schema of manifests, for editors.",
    ),
    ("keys list", "cli.keys.show:list_keys", "List keys and where they live."),
    ("keys show", "cli.keys.show:show_key", "Explain, node by node, why a key is there or is not."),
    ("keys issue", "cli.keys.change:issue", "Issue keys of a tariff."),
    ("keys rotate", "cli.keys.change:rotate", "Give keys a new identity; the old one is deleted."),
    ("keys move", "cli.keys.change:move", "Have a key live elsewhere."),
    ("keys revoke", "cli.keys.change:revoke", "Take keys away for good."),
    (
        "keys release",
        "cli.nodes.adopt:release",
        "Give adopted keys back: their clients stay, and are foreign.",
    ),
    ("people list", "cli.people:list_people", "List people."),
    ("people show", "cli.people:show_person", "Show a person: what they hold, what they paid."),
    ("people ban", "cli.people:ban", "Switch a person's keys off and sell them nothing."),
    ("people unban", "cli.people:unban", "Take a ban back."),
    (
        "subscriptions list",
        "cli.subscriptions.show:list_subscriptions",
        "List subscriptions and what is left of them.",
    ),
    (
        "subscriptions show",
        "cli.subscriptions.show:show_subscription",
        "Show days and quota left, and each key on each node.",
    ),
    ("subscriptions trial", "cli.subscriptions.sell:trial", "Give a person a trial, once."),
    ("subscriptions sell", "cli.subscriptions.sell:sell", "Order a tariff at its price."),
    ("subscriptions extend", "cli.subscriptions.change:extend", "Add days for nothing."),
    (
        "subscriptions change",
        "cli.subscriptions.change:change_tariff",
        "Give it another tariff for nothing.",
    ),
    (
        "subscriptions freeze",
        "cli.subscriptions.change:freeze",
        "Switch it off and let its time stand still.",
    ),
    ("subscriptions unfreeze", "cli.subscriptions.change:unfreeze", "Let it go on."),
    (
        "subscriptions refund",
        "cli.subscriptions.change:refund",
        "Give a payment back, and take back what it bought.",
    ),
    ("subscriptions forget", "cli.subscriptions.change:forget", "Forget one of its devices."),
    ("payments list", "cli.payments:list_payments", "List payments and debts."),
    ("payments show", "cli.payments:show_payment", "Show one payment."),
    ("payments refund", "cli.payments:refund", "Give a payment back; take back what it bought."),
    ("payments record", "cli.payments:record", "Record what a provider says of a charge."),
    ("purchases list", "cli.purchases:list_purchases", "List orders, paid or not."),
    ("nodes list", "cli.nodes.show:list_nodes", "List nodes with state and counts."),
    ("nodes show", "cli.nodes.show:show_node", "Show one node: conditions, inbounds, history."),
    ("replicas list", "cli.replicas:list_replicas", "List controllers and which nodes each holds."),
    ("nodes probe", "cli.nodes.probe:probe", "Look at one panel now; writes nothing."),
    ("nodes pause", "cli.nodes.change:pause", "Stop visiting a node."),
    (
        "nodes resume",
        "cli.nodes.change:resume",
        "Visit it again; try refused credentials once more.",
    ),
    ("nodes cordon", "cli.nodes.change:cordon", "Place no new keys on a node."),
    ("nodes uncordon", "cli.nodes.change:uncordon", "Place new keys on a node again."),
    ("nodes drain", "cli.nodes.change:drain", "Have every key leave a node."),
    ("nodes undrain", "cli.nodes.change:undrain", "Let keys stay on a node again."),
    ("nodes rematch", "cli.nodes.change:rematch", "Choose the node's inbounds anew."),
    (
        "nodes rebind",
        "cli.nodes.change:rebind",
        "Accept the panel that answers now as this node's.",
    ),
    (
        "inbounds list",
        "cli.inbounds:list_inbounds",
        "List declared inbounds and the nodes that have them.",
    ),
    (
        "inbounds show",
        "cli.inbounds:show_inbound",
        "Show one declared inbound, node by node.",
    ),
    ("moves list", "cli.moves:list_moves", "List keys on their way, and how long it takes."),
    ("rebalance", "cli.moves:rebalance", "Move the fewest keys that even nodes out."),
    ("capacity", "cli.capacity:capacity", "Show how full nodes are, and what should be done."),
    (
        "nodes adopt",
        "cli.nodes.adopt:adopt",
        "Take over clients that a panel holds already; shows first.",
    ),
    ("nodes rebuild", "cli.nodes.rebuild:rebuild", "Fill a wiped panel again, same credentials."),
    ("nodes forget", "cli.nodes.forget:forget", "Forget a node whose panel is gone for good."),
    ("nodes forgotten", "cli.nodes.forget:forgotten", "List forgotten nodes and what they owed."),
    ("backup create", "cli.backup.create:create", "Make a backup, now."),
    (
        "backup extract",
        "cli.backup.create:extract",
        "Take a panel's own database out of a backup.",
    ),
    ("backup list", "cli.backup.show:list_backups", "List backups; needs no database."),
    (
        "backup verify",
        "cli.backup.show:verify",
        "Prove that a backup can be restored; needs no database.",
    ),
    (
        "backup restore",
        "cli.backup.restore:restore",
        "Restore the database, and write nothing to any panel.",
    ),
    (
        "backup difference",
        "cli.backup.restore:difference",
        "Show what a restored database would do.",
    ),
    ("backup accept", "cli.backup.restore:accept", "Let nodes be written to after a restore."),
    ("events", "cli.events:events", "Show what happened on nodes and to keys."),
    (
        "notifications list",
        "cli.notifications:list_notifications",
        "List what people were told, and its way to webhooks.",
    ),
    (
        "notifications replay",
        "cli.notifications:replay",
        "Send a notification to every webhook once more.",
    ),
)
"""Words, import path, the line that help shows."""


def build_app() -> App:
    """Make the command line: every group and command, none of them loaded."""
    app = App(
        name="x3fleet",
        help="Keeps a fleet of 3x-ui panels equal to what its operator declared.",
        version=_version,
        default_parameter=Parameter(negative=()),
        help_epilogue="Exit codes: 0 in sync or done, 1 error, 2 drift found, 3 blocked.",
    )
    groups = {name: App(name=name, help=text) for name, text in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for words, path, text in COMMANDS:
        *group_name, name = words.split()
        parent = groups[group_name[0]] if group_name else app
        # `simulate --version` is a panel's version, not ours.
        flags = {"version_flags": ()} if name == "simulate" else {}
        parent.command(path, name=name, help=text, **flags)
    return app


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    with _signals():
        try:
            code = run(sys.argv[1:] if tokens is None else tokens)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output (`head`) has seen enough; the interpreter's own flush at exit
            # must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Exit.DONE
        except KeyboardInterrupt as interrupt:
            sys.stderr.write("x3fleet: interrupted\n")
            return Exit.TERMINATED if interrupt.args == (_TERMINATED,) else Exit.INTERRUPTED
    return code


def run(tokens: Sequence[str]) -> int:
    """Parse and run one command; errors of ours become a line and a code."""
    try:
        command, bound, *_ = build_app().parse_args(
            list(tokens), exit_on_error=False, print_error=False
        )
    except CycloptsError as error:
        return report_usage(str(error), _words(tokens))
    as_json = bound.arguments.get("output") is Output.JSON
    try:
        return _call(command, bound)
    except (X3FleetError, ExceptionGroup) as error:
        # Anything else is a bug and shows its traceback.
        if not is_ours(error):
            raise
        return report_error(error, as_json=as_json)


def _words(tokens: Sequence[str]) -> str:
    """The command that was meant, as far as there is one, for `--help`."""
    given = " ".join(tokens)
    known = (*GROUPS, *(words for words, _, _ in COMMANDS))
    return max(
        (words for words in known if f"{given} ".startswith(f"{words} ")), key=len, default=""
    )


def _call(command: Callable[..., Any], bound: BoundArguments) -> int:
    answer = command(*bound.args, **bound.kwargs)
    if isawaitable(answer):
        handler = signal.getsignal(signal.SIGTERM)
        try:
            answer = asyncio.run(_until_terminated(answer))
        except asyncio.CancelledError:
            raise KeyboardInterrupt(_TERMINATED) from None
        finally:
            # The loop puts the system's default in the place of its own handler.
            signal.signal(signal.SIGTERM, handler)
    return int(answer or 0)


async def _until_terminated(answer: Awaitable[Any]) -> Any:  # noqa: ANN401 - what a command answers
    """Cancel the command at SIGTERM, so that everything it opened is closed in order."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await answer


_TERMINATED = "terminated"


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: everything opened is closed, locks are given back."""

    def terminate(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt(_TERMINATED)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("x3fleet")
    except PackageNotFoundError:
        return "a checkout, not installed"
