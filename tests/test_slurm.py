"""Calls as jobs of a real SLURM, started by the fixture; see `slurm.py`."""

from __future__ import annotations

import json
import logging
import operator
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import any_function, copper, slurm
from helpers.file_based import FILE_BASED, check_labels, rattled_cells
from helpers.processes import until
from helpers.runs import GIVEN, make_workplace, tiny_config, without_times, write_given
from helpers.slurm import note
from nearsight.config import Config, ExecutorSettings
from nearsight.errors import InputError
from nearsight.executors import CallError, WorkerLost, discard_finished, make_executor, protocol
from nearsight.parents import Parent, ParentResult
from nearsight.parents.folders import AttemptFolders
from nearsight.run.run import Run

pytestmark = pytest.mark.slurm

DRIVER = """\
import sys
from pathlib import Path
import helpers.any_function; helpers.any_function.use()
from nearsight.executors import make_executor
from nearsight.config import ExecutorSettings
from helpers.slurm import note
settings = ExecutorSettings(engine="slurm", workers=6)
with make_executor(settings, Path(sys.argv[1])) as executor:
    futures = [executor.submit(note, sys.argv[1], f"call-{k}", 1.5 * k) for k in range(6)]
    print(*(future.result() for future in futures))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SLURM at work, its jobs able to import what stands here."""
    missing = slurm.missing()
    if missing and "NEARSIGHT_CI" in os.environ:
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    path = [str(Path(__file__).parent), *filter(None, sys.path)]
    with pytest.MonkeyPatch.context() as patch, slurm.running(tmp_path_factory.mktemp("slurm")):
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        patch.setattr(protocol, "FUNCTIONS", any_function.Everything())
        patch.setattr(protocol, "WORKER", any_function.__name__)
        patch.setattr("nearsight.executors.slurm.QUEUE", 1.0)
        patch.setattr("nearsight.executors.slurm.PAUSES", (0.5,))
        yield Path(os.environ["SLURM_CONF"])


def engine(folder: Path, **settings: Any) -> Any:
    return make_executor(ExecutorSettings(engine="slurm", **{"memory": 0.5, **settings}), folder)


# calls: found by name in the jobs


def outlive(folder: str, name: str) -> None:
    """As a call that fails on the signal itself, since a program that it started got it first."""

    def fail(*_: Any) -> None:
        raise RuntimeError("a program ended with SIGTERM")

    signal.signal(signal.SIGTERM, fail)
    note(folder, name, 0.0)
    signal.sigtimedwait([], 300.0)


def surroundings() -> dict[str, str]:
    return {"folder": str(Path.cwd()), **os.environ}


def ranks() -> tuple[int, int]:
    """Number of MPI processes, and what they have added up together."""
    from mpi4py import MPI

    return MPI.COMM_WORLD.size, MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1)


def tell_rank(folder: str, failing: int = -1) -> int:
    """Note that this process of a call has worked; return its rank, or fail, or wait for ever."""
    rank = int(os.environ["SLURM_PROCID"])
    Path(folder, f"rank-{rank}").touch()
    if rank == failing:
        raise RuntimeError(f"rank {rank} fails")
    if failing >= 0:
        time.sleep(300)
    return rank


def noted(folder: Path, name: str) -> list[int]:
    """The jobs that have done a call."""
    return list(map(int, (folder / name).read_text().split()))


def test_results_come_back_and_files_go(cluster: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder's name"
    settings: dict[str, Any] = {
        "threads": 2,
        "partition": "batch",
        "header": ["#SBATCH --comment=of-ours"],
        "setup": ["export GREETING={{hello}}"],
    }
    with engine(folder, **settings) as executor:
        futures = [executor.submit(operator.add, number, 1) for number in range(3)]
        found = executor.submit(surroundings).result(120)
        assert [future.result(120) for future in futures] == [1, 2, 3]
        job = slurm.command("scontrol", "show", "job", found["SLURM_JOB_ID"])
        assert "Comment=of-ours" in job
        assert "NumCPUs=2" in job
    assert found["OMP_NUM_THREADS"] == "2"
    assert found["GREETING"] == "{{hello}}"
    assert Path(found["folder"]).parent == folder / "jobs"
    assert list(folder.iterdir()) == []


def test_a_call_is_done_once_unless_it_failed(cluster: Path, tmp_path: Path) -> None:
    with engine(tmp_path) as executor:
        first = executor.submit(operator.truediv, 3, 2)
        second = executor.submit(operator.truediv, 3, 2)
        assert first.result(120) == second.result(120) == 1.5
        assert executor.submit(operator.truediv, 3, 2).result(120) == 1.5
        for _ in range(2):
            with pytest.raises(CallError, match="ZeroDivisionError: division by zero"):
                executor.submit(operator.truediv, 3, 0).result(120)
        with pytest.raises(TypeError, match="must be plain, got object"):
            executor.submit(operator.truediv, 3, object())
    assert len(slurm.names("truediv-")) == 3


def test_files_of_finished_calls_go_when_they_may(cluster: Path, tmp_path: Path) -> None:
    with engine(tmp_path) as executor:
        assert executor.submit(operator.pow, 2, 3).result(120) == 8
        discard_finished(executor)
        assert list((tmp_path / "jobs").iterdir()) == []
        assert executor.submit(operator.pow, 2, 3).result(120) == 8
    assert len(slurm.names("pow-")) == 2


def test_no_more_jobs_than_workers(cluster: Path, tmp_path: Path) -> None:
    with engine(tmp_path, workers=2) as executor:
        futures = [executor.submit(time.sleep, 0.1 * k) for k in range(5)]
        most = 0
        while not all(future.done() for future in futures):
            done = len(list(tmp_path.glob("jobs/*.result.json")))
            most = max(most, len(list(tmp_path.glob("jobs/*.call.json"))) - done)
    assert most == 2
    assert len(slurm.names("sleep-")) == 5


def test_a_call_in_several_mpi_processes(cluster: Path, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    with engine(tmp_path, cores=2, setup=["export SLURM_MPI_TYPE=pmi2"]) as executor:
        assert executor.submit(ranks).result(120) == [2, 3]


def test_of_several_processes_the_first_tells(cluster: Path, tmp_path: Path) -> None:
    with engine(tmp_path, cores=2) as executor:
        assert executor.submit(tell_rank, str(tmp_path)).result(120) == 0
        until(lambda: {path.name for path in tmp_path.glob("rank-*")} == {"rank-0", "rank-1"})


def test_no_process_waits_for_one_that_failed(cluster: Path, tmp_path: Path) -> None:
    with engine(tmp_path, cores=2) as executor:
        with pytest.raises(CallError, match="rank 0 fails"):
            executor.submit(tell_rank, str(tmp_path), 0).result(120)
        until(lambda: not slurm.queued())
        with pytest.raises(WorkerLost, match="ended without a result"):
            executor.submit(tell_rank, str(tmp_path), 1).result(120)


def test_a_cancelled_job_is_lost_and_may_be_submitted_again(cluster: Path, tmp_path: Path) -> None:
    with engine(tmp_path, workers=3) as executor:
        futures = [executor.submit(note, str(tmp_path), f"call-{k}", 5.0) for k in range(3)]
        until(lambda: len(list(tmp_path.glob("call-*"))) == 3)
        (number,) = noted(tmp_path, "call-1")
        slurm.command("scancel", str(number))
        with pytest.raises(WorkerLost, match=f"SLURM job {number} ended without .*CANCELLED"):
            futures[1].result(120)
        again = executor.submit(note, str(tmp_path), "call-1", 5.0)
        assert again.result(120) > number
        assert [futures[k].result(120) for k in (0, 2)] == [
            noted(tmp_path, f"call-{k}")[0] for k in (0, 2)
        ]
    assert list(map(len, (noted(tmp_path, f"call-{k}") for k in range(3)))) == [1, 2, 1]


@pytest.mark.parametrize(("call", "more"), [(note, (300.0,)), (outlive, ())])
def test_a_job_out_of_time_is_lost(
    cluster: Path, tmp_path: Path, call: Callable[..., Any], more: tuple[float, ...]
) -> None:
    with engine(tmp_path, time_limit=0.5) as executor:
        future = executor.submit(call, str(tmp_path), "call", *more)
        until((tmp_path / "call").exists)
        (number,) = noted(tmp_path, "call")
        assert "TimeLimit=00:30:00" in slurm.command("scontrol", "show", "job", str(number))
        slurm.command("scontrol", "update", f"job={number}", "EndTime=now")
        with pytest.raises(WorkerLost, match="DUE TO TIME LIMIT"):
            future.result(120)


@pytest.mark.usefixtures("node_comes_back")
def test_jobs_outlive_a_drained_and_a_failed_node(cluster: Path, tmp_path: Path) -> None:
    with engine(tmp_path) as executor:
        running = executor.submit(note, str(tmp_path), "running", 8.0)
        until((tmp_path / "running").exists)
        set_node("drain")
        waiting = executor.submit(note, str(tmp_path), "waiting")
        until(lambda: len(slurm.queued("--states=PENDING")) == 1)
        with engine(tmp_path / "other"):  # also while no node is there
            pass
        set_node("down")  # which kills the one that runs; SLURM puts it back into the queue
        until(lambda: len(slurm.queued("--states=PENDING")) == 2)
        (number,) = noted(tmp_path, "running")
        until(
            lambda: any("NODE FAILURE" in log.read_text() for log in tmp_path.glob("jobs/*/*.log"))
        )
        # two minutes by default; a node refuses what it has killed in the same second
        slurm.command("scontrol", "update", f"job={number}", "StartTime=now+5")
        set_node("resume")
        assert running.result(120) == number
        assert waiting.result(120) == noted(tmp_path, "waiting")[0]
    assert noted(tmp_path, "running") == [number] * 2


@pytest.fixture
def node_comes_back(cluster: Path) -> Iterator[None]:
    yield
    state = slurm.command("sinfo", "--noheader", "--format=%T")
    if state.startswith(("down", "drain")):
        set_node("resume")


def set_node(state: str) -> None:
    slurm.command("scontrol", "update", f"node={slurm.node()}", f"state={state}", "reason=test")


@contextmanager
def driver(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The driver at work; killed if it still is in the end."""
    script = folder / "driver.py"
    script.write_text(DRIVER)
    words = [sys.executable, str(script), str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_driver_finds_its_jobs_again(
    cluster: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Six jobs on four cores: finished, running and waiting ones when the driver is stopped."""
    with driver(tmp_path) as process:
        until(lambda: len(list(tmp_path.glob("jobs/*/job"))) == 6)
        until(lambda: len(list(tmp_path.glob("jobs/*.result.json"))) >= 2)
        process.send_signal(number)
        process.wait(60)
    queued = slurm.queued()
    assert 0 < len(queued) < 6
    with driver(tmp_path) as process:
        found, _ = process.communicate(timeout=120)
    jobs = [int(word) for word in found.split()]
    assert jobs == [only for k in range(6) for only in noted(tmp_path, f"call-{k}")]
    assert set(queued) < set(jobs)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"call-{k}" for k in range(6)),
        "driver.py",
    ]


def interrupt(executor: Any) -> None:
    with pytest.raises(KeyboardInterrupt), executor:
        raise KeyboardInterrupt


def test_a_job_submitted_without_being_noted_is_found(cluster: Path, tmp_path: Path) -> None:
    """As if the driver had been killed between sbatch and writing the number down."""
    executor = engine(tmp_path)
    executor.submit(note, str(tmp_path), "call", 3.0)
    until((tmp_path / "call").exists)
    interrupt(executor)
    (place,) = tmp_path.glob("jobs/*/job")
    place.unlink()
    with engine(tmp_path) as executor:
        assert [executor.submit(note, str(tmp_path), "call", 3.0).result(120)] == noted(
            tmp_path, "call"
        )


def test_torn_files_are_made_anew(cluster: Path, tmp_path: Path) -> None:
    executor = engine(tmp_path)
    executor.submit(note, str(tmp_path), "call").result(120)
    interrupt(executor)
    (result,) = tmp_path.glob("jobs/*.result.json")
    result.write_bytes(result.read_bytes()[:-10])
    with engine(tmp_path) as executor:
        executor.submit(note, str(tmp_path), "call").result(120)
    assert len(noted(tmp_path, "call")) == 2


class Exploit:
    """What executes code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._mark}",)


def test_planted_files_execute_nothing(
    cluster: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = tmp_path / "executed"
    code = f"import pathlib; pathlib.Path({str(mark)!r}).touch()"
    contents = [
        pickle.dumps(Exploit(mark)),
        b"\x89HDF\r\n\x1a\n" + pickle.dumps(Exploit(mark)),
        b"[" * 100_000,
        b'{"format": "nearsight-result"}',
        json.dumps({"function": "os:system", "arguments": [f"touch {mark}"]}).encode(),
    ]
    executor = engine(tmp_path, workers=5)
    calls = [executor.submit(note, str(tmp_path), f"call-{k}") for k in range(5)]
    first = [call.result(120) for call in calls]
    interrupt(executor)
    for call, content in zip(calls, contents, strict=True):
        call.output.write_bytes(content)
        (call.place / "json.py").write_text(code)
    # of the last, there is a call of somebody else's and no result
    calls[4].output.unlink()
    calls[4].path.write_bytes(contents[4])
    until(lambda: not slurm.queued())
    with engine(tmp_path, workers=5) as executor, caplog.at_level(logging.WARNING):
        again = [executor.submit(note, str(tmp_path), f"call-{k}") for k in range(5)]
        for call in again[:4]:
            assert call.result(120) not in first
        assert again[4].result(120) not in first
        assert [len(noted(tmp_path, f"call-{k}")) for k in range(5)] == [2] * 5
        assert not mark.exists()
        refused = [record.getMessage() for record in caplog.records]
        assert len(refused) == 4
        for call, sentence in zip(calls, refused, strict=False):
            assert sentence.startswith(f"{call.output}: not a result of its call (")
            assert "\n" not in sentence


def test_a_result_that_is_not_one_is_a_lost_job(cluster: Path, tmp_path: Path) -> None:
    with engine(tmp_path) as executor:
        call = executor.submit(note, str(tmp_path), "call", 300.0)
        until((tmp_path / "call").exists)
        call.output.write_text("[]")
        with pytest.raises(WorkerLost, match="result cannot be used: not of format"):
            call.result(120)
        slurm.command("scancel", str(call.job))


def unreachable(folder: Path) -> str:
    """A configuration whose controller does not answer."""
    text = Path(os.environ["SLURM_CONF"]).read_text()
    path = folder / "slurm.conf"
    path.write_text(re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=9", text))
    return str(path)


def test_a_controller_that_does_not_answer_is_waited_for(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with engine(tmp_path) as executor, caplog.at_level(logging.WARNING):
        futures = [executor.submit(note, str(tmp_path), "first", 3.0)]
        until((tmp_path / "first").exists)
        with monkeypatch.context() as patch:
            patch.setenv("SLURM_CONF", unreachable(tmp_path))
            futures.append(executor.submit(note, str(tmp_path), "second"))
            until(lambda: caplog.records)
        assert [future.result(120) for future in futures] == [
            *noted(tmp_path, "first"),
            *noted(tmp_path, "second"),
        ]
    assert "SLURM takes no job, asking again in 0.5 s: " in caplog.text
    assert "Unable to contact slurm controller" in caplog.text


def test_waiting_for_slurm_has_an_end(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = engine(tmp_path, patience=1e-4)
    monkeypatch.setenv("SLURM_CONF", unreachable(tmp_path))
    with pytest.raises(Exception, match="Unable to contact slurm controller"):
        executor.submit(operator.add, 1, 2).result(120)
    with pytest.raises(RuntimeError, match=r"SLURM has taken no job for a long time: .*Unable"):
        executor.submit(operator.add, 1, 2)
    executor.shutdown()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"partition": "nowhere"}, "Invalid partition name specified"),
        ({"header": ["#SBATCH --acount=mine"]}, "unrecognized option '--acount=mine'"),
        ({"memory": 90.0}, "Requested node configuration is not available"),
    ],
)
def test_jobs_that_slurm_refuses(
    cluster: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=f"SLURM takes no jobs with these settings: .*{words}"):
        engine(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


# other people's engines


def test_parsl_carries_out_parent_calculations(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pilot jobs of parsl instead of our engine: any executor will do."""
    pytest.importorskip("parsl")
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config as ParslConfig
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import SimpleLauncher
    from parsl.providers import SlurmProvider

    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")  # parsl's own programs
    monkeypatch.chdir(tmp_path)
    provider = SlurmProvider(
        partition="batch", cores_per_node=1, mem_per_node=1, exclusive=False, init_blocks=1,
        max_blocks=1, walltime="00:05:00", launcher=SimpleLauncher(),
        worker_init=f"export PATH={os.environ['PATH']} PYTHONPATH={os.environ['PYTHONPATH']}",
    )  # fmt: skip
    pilots = HighThroughputExecutor(
        address="127.0.0.1", max_workers_per_node=1, cores_per_worker=1, provider=provider
    )
    config = ParslConfig(run_dir=str(tmp_path), executors=[pilots], initialize_logging=False)
    structures = [image.atoms for image in copper.cells()[:3]]
    with ParslPoolExecutor(config=config) as executor:
        found = Parent("emt", executor=executor).calculate_many(structures)
    for atoms, result in zip(structures, found, strict=True):
        assert isinstance(result, ParentResult)
        energy, forces = copper.emt(atoms)
        assert result.energy == pytest.approx(energy, abs=1e-12)
        np.testing.assert_allclose(result.forces, forces, atol=1e-12)


# a whole run

TRAINING: dict[str, Any] = {
    "seed": 3,
    "initial": {"structures": "cells.extxyz"},
    "images": {"count": 6},
    "features": {"symmetry_functions": None, "count": 6, "cutoff": 4.5},
    "network": {"hidden_layers": [4]},
    "training": {"initial_iterations": 8, "iterations": 4},
    "ensemble": {"members": 3},
    "nft": {"chunks_per_iteration": 3, "max_chunks": 6},
    "report": {"true_forces": True},
}
ON_SLURM = {
    "engine": "slurm", "partition": "batch", "workers": 3, "trainings": True, "memory": 0.5,
}  # fmt: skip


def work_in(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    write_given(folder)
    make_workplace(folder, tiny_config(GIVEN, **TRAINING, **changes))
    return folder / "nft.toml"


CALLS = ("train_member-", "run_tasks-")
"""Names of the jobs of a run."""


def test_a_run_with_lost_jobs_and_a_killed_driver_ends_like_a_local_one(
    cluster: Path, tmp_path: Path
) -> None:
    here = work_in(tmp_path / "here")
    Run(Config.load(here), here.parent / "run").execute()

    there = work_in(tmp_path / "there", executor=ON_SLURM)
    folder = there.parent / "run"
    words = [sys.executable, "-m", "nearsight", "run", str(there), "--workdir", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            # trainings of the first iteration with chunks; its parent calculations came before
            chunks = folder / "iteration-001" / "chunks.extxyz"
            until(lambda: chunks.exists() or process.poll() is not None, 300.0)
            until(lambda: slurm.names("train_member-", "RUNNING"))
        finally:
            process.kill()
    run = Run(Config.load(there), folder)
    with ThreadPoolExecutor(1) as other:
        work = other.submit(run.execute)
        cancelled = [cancel(call, work) for call in CALLS]
        work.result(300)

    done = [name for call in CALLS for name in slurm.names(call, "COMPLETED")]
    assert len(done) == len(set(done))  # no call twice
    assert set(slurm.names(state="CANCELLED")) >= set(cancelled)
    assert not (folder / "jobs").exists()
    found, expected = (
        without_times(json.loads(path.joinpath("run", "report.json").read_text()))
        for path in (there.parent, here.parent)
    )
    assert found == expected
    best = [path.joinpath("run", "best.json").read_bytes() for path in (there.parent, here.parent)]
    assert best[0] == best[1]
    assert run.parent.known == 7  # six chunks and the target


def cancel(name: str, work: Future[None]) -> str:
    """Cancel a running job of that name."""
    found: list[str] = []
    until(lambda: found.extend(slurm.names(name, "RUNNING")) or found or work.done())
    slurm.command("scancel", f"--name={found[0]}")
    return found[0]


def test_labels_of_a_file_based_code(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    settings = ExecutorSettings(engine="slurm", workers=2, per_job=3)
    parent = Parent(FILE_BASED, {"pause": 0.1}, engine=settings)
    parent.attach(tmp_path / "parent.db", folders=AttemptFolders(tmp_path / "parent"))
    with engine(tmp_path, workers=2, per_job=3) as parent.executor:
        check_labels(parent, rattled_cells(6))
    assert list((tmp_path / "start").iterdir()) == []
    assert not (tmp_path / "parent").exists()
