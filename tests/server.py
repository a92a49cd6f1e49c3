"""A PostgreSQL server for a test."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@dataclass(frozen=True)
class Server:
    """One that runs, in a folder of its own."""

    folder: str
    user: str
    port: int

    @property
    def url(self) -> str:
        """That of its database."""
        return f"postgresql://secateur@127.0.0.1:{self.port}/postgres"

    def does(self, *command: str) -> None:
        """Run a program of PostgreSQL."""
        subprocess.run(
            [f"{POSTGRES}/{command[0]}", *command[1:]], user=self.user, check=True, stdout=subprocess.DEVNULL
        )

    def start(self) -> None:
        """Until it answers."""
        options = f"-p {self.port} -k {self.folder}"
        self.does("pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        """At once, whatever it does."""
        self.does("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")


@contextmanager
def server() -> Iterator[Server]:
    """One that ends with the test; PostgreSQL refuses to run as root."""
    if POSTGRES is None or (os.geteuid() == 0 and shutil.which("su") is None):
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    folder = subprocess.run(["mktemp", "-d"], user=user, capture_output=True, text=True, check=True).stdout.strip()
    found = Server(folder, user, port)
    found.does("initdb", "-D", f"{folder}/data", "-U", "secateur", "-A", "trust", "--no-sync")
    found.start()
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder)
