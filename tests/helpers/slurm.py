"""A SLURM of our own for the tests: one node, on this machine, of Debian's packages.

Nothing outside of one folder is touched: munge, controller and node run in the foreground as
children of the tests, with a configuration, a key, a socket and ports of their own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from helpers.processes import until

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
KillWait=1
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=batch Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in NEEDED if shutil.which(name) is None]


def command(*words: str) -> str:
    """What a command of SLURM prints."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def names(start: str = "", state: str = "all") -> list[str]:
    """Names of the jobs there have been (for MinJobAge seconds), or that are in a state."""
    listed = command("squeue", "--noheader", f"--states={state}", "--format=%j")
    return [name for name in listed.split() if name.startswith(start)]


def queued(*options: str) -> list[int]:
    """Numbers of the jobs in the queue."""
    return sorted(map(int, command("squeue", "--noheader", "--format=%A", *options).split()))


def node() -> str:
    return socket.gethostname().partition(".")[0]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """SLURM at work; its configuration file, which SLURM_CONF names meanwhile."""
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=node(), folder=folder, user=os.environ.get("USER", "root"), ports=free_ports(2)
        )
    )
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    # --force: the folders of pytest are private, which munge takes for a mistake
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--{what}-file={folder}/munge.{what}" for what in ("log", "pid", "seed")] + [
        f"--socket={folder}/munge.socket"
    ]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(configuration)
    with ExitStack() as stack:
        for words in (munge, ["slurmctld", "-D", "-c"], ["slurmd", "-D"]):
            log = stack.enter_context((folder / f"{words[0]}.out").open("w"))
            daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            stack.callback(stop, daemon)
            if words is munge:
                until((folder / "munge.socket").exists)
        until(
            lambda: (
                "idle"
                in subprocess.run(
                    ["sinfo", "-h", "-o", "%t"], capture_output=True, text=True
                ).stdout
            )
        )
        yield configuration
        subprocess.run(["scancel", "--user", "root"], check=False)
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def note(folder: str, name: str, seconds: float = 0.0) -> int:
    """Add the number of this job to a file; it is also what comes back."""
    number = os.environ["SLURM_JOB_ID"]
    with Path(folder, name).open("a") as file:
        file.write(f"{number}\n")
    subprocess.run(["sleep", str(seconds)], check=True)
    return int(number)
