"""Processes that begin where the compiler's libraries have been imported, which takes seconds: a server forks for each.

`graphwright` and `python -c` run as from a shell, with its streams, in its folder, one process each. That commands work
where nothing was imported before is tested where that is the question.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn

CLIENT = """
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
socket.send_fds(server, [json.dumps([os.getcwd(), sys.argv[2:]]).encode()], [0, 1, 2])
sys.exit(int(server.recv(8) or b"1"))
"""


@contextmanager
def fork_server(folder: Path) -> Generator[Path]:
    """A command that takes `graphwright ARGUMENTS` or `python -c CODE` as its arguments, while this lasts."""
    place = folder / "socket"
    server = subprocess.Popen([sys.executable, "-m", __name__, str(place)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        (folder / "client.py").write_text(CLIENT, encoding="utf-8")
        command = folder / "command"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{folder / "client.py"}" "{place}" "$@"\n')
        command.chmod(0o755)
        yield command
    finally:
        server.kill()
        server.communicate()


LIBRARIES = (
    "graphwright.cli",
    "graphwright.compiling.compiler",
    "graphwright.frontend",
    "graphwright.passes.pipelines",
    "onnxruntime",
    "torch.export",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
)


def serve() -> None:
    """Serve until killed."""
    for library in LIBRARIES:
        import_module(library)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what was forked: clients are told
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        message, streams, _, _ = socket.recv_fds(client, 1 << 20, 3)
        if os.fork() == 0:
            listener.close()
            _run(client, message, streams)
        for descriptor in streams:
            os.close(descriptor)
        client.close()


def _run(client: socket.socket, message: bytes, streams: list[int]) -> NoReturn:
    """In the process that was forked: be the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    folder, (program, *arguments) = json.loads(message)
    os.chdir(folder)
    status = 1
    try:
        if program == "graphwright":
            from graphwright.cli import main as commands

            sys.argv = [program, *arguments]
            vars(sys.modules["__main__"])["main"] = commands
            commands()
        else:
            assert (program, arguments[0]) == ("python", "-c")
            exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    client.send(str(status).encode())
    os._exit(status)


if __name__ == "__main__":
    serve()
