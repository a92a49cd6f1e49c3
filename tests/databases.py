"""A PostgreSQL server for a test."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@contextmanager
def postgres() -> Iterator[str]:
    """A database server of its own, and its URL; it refuses to run as root."""
    if POSTGRES is None or (os.geteuid() == 0 and shutil.which("su") is None):
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    folder = subprocess.run(["mktemp", "-d"], user=user, capture_output=True, text=True, check=True).stdout.strip()

    def serve(*command: str) -> None:
        subprocess.run([f"{POSTGRES}/{command[0]}", *command[1:]], user=user, check=True, stdout=subprocess.DEVNULL)

    serve("initdb", "-D", f"{folder}/data", "-U", "secateur", "-A", "trust", "--no-sync")
    serve("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", f"-p {port} -k {folder}", "start")
    try:
        yield f"postgresql://secateur@127.0.0.1:{port}/postgres"
    finally:
        serve("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)
