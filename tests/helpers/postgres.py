"""A PostgreSQL server of its own, as Debian's package ``postgresql`` brings it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "s3cret:word"


def program(name: str) -> str | None:
    """Where a program of the server is; Debian does not put them on the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, places)))


@contextmanager
def server() -> Iterator[str]:
    """Start a server that listens on a socket alone; the URL of its database, with a password."""
    initdb, control = program("initdb"), program("pg_ctl")
    assert initdb is not None
    assert control is not None
    user = "postgres" if os.geteuid() == 0 else None  # it does not run as root
    # not pytest's folder, which other users may not enter
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(secret, user)

        def run(*command: str) -> None:
            subprocess.run(
                command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120
            )

        data = str(folder / "data")
        run(
            initdb, "-D", data, "-U", "nearsight", "--auth=scram-sha-256", "--no-sync",
            f"--pwfile={secret}",
        )  # fmt: skip
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(control, "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            password = PASSWORD.replace(":", "%3A")
            yield f"postgresql://nearsight:{password}@/postgres?host={folder}"
        finally:
            run(control, "-D", data, "-m", "immediate", "stop")
