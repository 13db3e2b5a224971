"""`python -m tests.e2e.loaded SOCKET`: holds the program loaded, and becomes a command by forking.

Loading the program costs a process more CPU than most commands do, and the tests type hundreds of them.
Each command is a process of its own all the same: its arguments, environment, folder and output are
given with the request, and it ends as the interpreter ends. Caller: `shell`. Not here: what commands do.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import configure_mappers

import cli
import controller
import desired_state
import simulator

LONGEST = 1 << 20
"""Bytes of a request: arguments and an environment."""


@dataclass(frozen=True)
class Command:
    """What to become. `files`: descriptors of stdin, stdout and stderr."""

    program: str
    words: list[str]
    environment: dict[str, str]
    folder: str
    files: list[int]


def load() -> None:
    """Import whatever commands import when they are called."""
    for package in (cli, controller, desired_state, simulator):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and ".migrations." not in module.name:
                importlib.import_module(module.name)
    for url in ("sqlite+aiosqlite://", "postgresql+psycopg://"):
        create_async_engine(url)
    configure_mappers()
    gc.collect()
    gc.freeze()  # What is shared with every child is looked at by none.


class Server:
    """Takes requests until the socket's owner is gone. One thread: nothing is lost by a fork."""

    def __init__(self, path: str) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.wakes, self.woken = socket.socketpair()
        for end in (self.wakes, self.woken):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.woken.fileno())
        self.running: dict[int, socket.socket] = {}

    def serve(self) -> Command | None:
        """Serve; gives the command to become in a child, and nothing at the end."""
        print("ready", flush=True)
        self.selector.register(self.listener, selectors.EVENT_READ, "request")
        self.selector.register(self.wakes, selectors.EVENT_READ, "ended")
        self.selector.register(sys.stdin, selectors.EVENT_READ, "over")
        while True:
            for key, _ in self.selector.select():
                if key.data == "over":
                    return None
                if key.data == "ended":
                    self._tell_ends()
                elif (command := self._start()) is not None:
                    return command

    def _start(self) -> Command | None:
        """Fork. In the child: what to become."""
        asker, _ = self.listener.accept()
        message, files, *_ = socket.recv_fds(asker, LONGEST, 3)
        while not message.endswith(b"\n"):
            message += asker.recv(LONGEST)
        pid = os.fork()
        if pid == 0:
            asker.close()
            self._forget()
            return Command(**json.loads(message), files=files)
        for file in files:
            os.close(file)
        self.running[pid] = asker
        asker.sendall(b"%d\n" % pid)
        return None

    def _tell_ends(self) -> None:
        """Tell each asker how its process ended, as `returncode` of a subprocess says it."""
        self.wakes.recv(LONGEST)
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            asker = self.running.pop(pid)
            try:
                asker.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            except BrokenPipeError:
                print(f"nobody waits for {pid} any more", file=sys.stderr)
            asker.close()

    def _forget(self) -> None:
        """A child has nothing of its parent but the loaded program."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for held in (self.selector, self.listener, self.wakes, self.woken, *self.running.values()):
            held.close()


def become(command: Command) -> None:
    """Turn this process into the command; it ends as a fresh interpreter would."""
    for number, file in enumerate(command.files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(command.environment)
    os.chdir(command.folder)
    sys.argv = [command.program, *command.words]
    try:
        runpy.run_module(command.program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            with suppress(
                OSError
            ):  # Nobody reads any more: the interpreter has its own word for it.
                leave(end.code or 0)
        raise


def leave(code: int) -> None:
    """End as an interpreter does, but for taking apart what was loaded.

    That touches every page shared with the parent, and so copies them all: most of what a command cost.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    for output in (sys.stdout, sys.stderr):
        output.flush()
    os._exit(code)


if __name__ == "__main__":
    load()
    command = Server(sys.argv[1]).serve()
    if command is not None:
        become(command)
