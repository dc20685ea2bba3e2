"""Failures of parent calculations: tried again, put on record, given up; what engines do to them.

The parent is ``helpers/faulty.py``; what is right is ASE's EMT itself.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from helpers.faulty import FAULTY
from nearsight.config import ExecutorSettings
from nearsight.errors import DamagedFileError, ParentError
from nearsight.executors import WorkerLost
from nearsight.executors.local import LocalExecutor
from nearsight.parents import Failure, Parent, ParentResult
from nearsight.progress import LogProgress


def chain(count: int) -> Atoms:
    """A zigzag of copper atoms."""
    return Atoms(f"Cu{count}", [[2.3 * k, 0.9 * (k % 2), 0.0] for k in range(count)])


CHAINS = [chain(count) for count in range(2, 8)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def make(log: Path, tmp_path: Path) -> Callable[..., Parent]:
    """Makes parents of one folder: with a database, a record of failures, and trouble."""

    def made(trouble: dict[str, str] | None = None, **settings: Any) -> Parent:
        arguments = {"log": str(log), "faults": trouble or {}}
        place = {"database": tmp_path / "parent.db", "failures": tmp_path / "failures.json"}
        return Parent(FAULTY, arguments, **(place | settings))

    return made


@pytest.fixture(scope="module")
def local() -> Iterator[LocalExecutor]:
    with LocalExecutor(2) as executor:
        yield executor


def tries(log: Path) -> list[str]:
    """What was begun: atoms and mixer."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.rpartition(" ")[0] for line in lines]


def on_record(parent: Parent) -> list[dict[str, Any]]:
    assert parent.failures.path is not None
    content = json.loads(parent.failures.path.read_text())
    assert (content["format"], content["version"]) == ("nearsight-failures", 1)
    return list(content["structures"].values())


def assert_right(result: ParentResult | Failure, atoms: Atoms) -> None:
    assert isinstance(result, ParentResult)
    atoms = atoms.copy()
    atoms.calc = EMT()
    assert result.energy == atoms.get_potential_energy()
    np.testing.assert_array_equal(result.forces, atoms.get_forces())


# -- tried again


def test_retries_change_arguments_in_turn(make: Callable[..., Parent], log: Path) -> None:
    retries = [{"mixer": 0.2}, {}, {"mixer": 0.3, "faults": {}}, {"mixer": 0.4}]
    parent = make({"4": "raise"}, retries=retries)
    result = parent.calculate(chain(4))
    assert_right(result, chain(4))
    assert tries(log) == ["4 0.1", "4 0.2", "4 0.1", "4 0.3"]
    assert on_record(parent) == [
        {
            "structure": "Cu4 (4 atoms)",
            "failed": ["RuntimeError: SCF did not converge"] * 3,
            "lost": [],
            "given_up": False,
        }
    ]
    # it is known as what was asked for, with what had to be changed
    assert make({"4": "raise"}).calculate(chain(4)).cached
    row = ase.db.connect(parent._database.name).get(id=1)  # type: ignore[union-attr]
    assert row.data["settings"]["changed"] == {"mixer": 0.3, "faults": {}}
    assert row.data["settings"]["arguments"]["faults"] == {"4": "raise"}


def test_what_is_given_up_is_not_tried_by_a_restart(make: Callable[..., Parent], log: Path) -> None:
    parent = make({"4": "raise"}, retries=[{"mixer": 0.2}])
    found = parent.calculate_many([chain(3), chain(4), chain(5)])
    assert_right(found[0], chain(3))
    assert_right(found[2], chain(5))
    reasons = ("RuntimeError: SCF did not converge",) * 2
    assert found[1] == Failure("Cu4 (4 atoms)", reasons)
    assert tries(log) == ["3 0.1", "4 0.1", "5 0.1", "4 0.2"]
    again = make({"4": "raise"}, retries=[{"mixer": 0.2}])
    assert again.failures.given_up() == [found[1]]
    with pytest.raises(ParentError) as caught:
        again.calculate(chain(4))
    sentence = str(caught.value)
    assert f"{FAULTY} failed on Cu4 (4 atoms): RuntimeError: SCF did not converge" in sentence
    assert "after 2 attempts" in sentence
    assert len(tries(log)) == 4
    assert again.failures.path is not None
    again.failures.path.unlink()
    make({"4": "raise"}).calculate_many([chain(4)])
    assert tries(log)[4:] == ["4 0.1"]


def test_a_restart_goes_on_with_the_attempt_it_was_at(
    make: Callable[..., Parent], log: Path
) -> None:
    retries: list[dict[str, Any]] = [{"mixer": 0.2}, {"mixer": 0.3, "faults": {"4": "interrupt"}}]
    with pytest.raises(KeyboardInterrupt):
        make({"4": "raise"}, retries=retries).calculate(chain(4))
    retries[1] = {"mixer": 0.4, "faults": {}}
    assert_right(make({"4": "raise"}, retries=retries).calculate(chain(4)), chain(4))
    assert tries(log) == ["4 0.1", "4 0.2", "4 0.3", "4 0.4"]


def test_fewer_retries_than_failures_on_record(make: Callable[..., Parent], log: Path) -> None:
    retries = [{"mixer": 0.2}, {"faults": {"4": "interrupt"}}]
    with pytest.raises(KeyboardInterrupt):
        make({"4": "raise"}, retries=retries).calculate(chain(4))
    (failed,) = make({"4": "raise"}).calculate_many([chain(4)])
    assert isinstance(failed, Failure)
    assert len(failed.reasons) == 3


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("nan", "forces not finite"),
        ("blow up", "a force of 1000 eV/Å, beyond max_force = 100 eV/Å"),
        ("lose an atom", "forces of shape (3, 3), not (4, 3)"),
    ],
)
@pytest.mark.parametrize("engine", ["inline", "local"])
def test_results_that_cannot_be_believed(
    make: Callable[..., Parent], local: LocalExecutor, engine: str, trouble: str, reason: str
) -> None:
    executor = local if engine == "local" else None
    parent = make({"4": trouble}, executor=executor, retries=[{"faults": {}}])
    assert_right(parent.calculate(chain(4)), chain(4))
    assert on_record(parent)[0]["failed"] == [reason]
    assert parent.known == 1


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("panic", "_Panic: of another language"),
        ("cancel", "CancelledError"),
    ],
)
@pytest.mark.parametrize("engine", ["inline", "local", "threads"])
def test_whatever_a_parent_raises_is_a_failure(
    make: Callable[..., Parent], local: LocalExecutor, engine: str, trouble: str, reason: str
) -> None:
    """Even what is no `Exception`."""
    with ThreadPoolExecutor(1) as threads:
        executor = {"inline": None, "local": local, "threads": threads}[engine]
        parent = make({"4": trouble}, executor=executor, retries=[{"faults": {}}])
        assert_right(parent.calculate(chain(4)), chain(4))
    assert on_record(parent)[0]["failed"] == [reason]
    assert on_record(parent)[0]["lost"] == []


def test_a_parent_that_empties_the_environment(
    make: Callable[..., Parent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert_right(make({"4": "empty the environment"}).calculate(chain(4)), chain(4))


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("say odd things", r"RuntimeError: a\x1b[31m\x00b\ud800"),
        ("say too much", f"RuntimeError: {'much ' * 200}... (49999000 more characters)"),
        ("say nothing", "_Speechless"),
    ],
)
@pytest.mark.parametrize("engine", ["inline", "local"])
def test_whatever_a_parent_says_can_be_kept(
    make: Callable[..., Parent],
    local: LocalExecutor,
    tmp_path: Path,
    engine: str,
    trouble: str,
    reason: str,
) -> None:
    parent = make({"4": trouble}, executor=local if engine == "local" else None)
    with pytest.raises(ParentError) as caught:
        parent.calculate(chain(4))
    assert on_record(parent)[0]["failed"] == [reason]
    assert str(caught.value).endswith(f"failed on Cu4 (4 atoms): {reason}")
    LogProgress(tmp_path / "run.log").note(str(caught.value))
    text = (tmp_path / "run.log").read_text()
    assert reason in text
    assert all(each.isprintable() or each == "\n" for each in text)
    # a restart reads it
    assert make({"4": trouble}).failures.given_up()[0].reasons == (reason,)


def test_the_bound_of_forces_is_a_setting(make: Callable[..., Parent]) -> None:
    result = make({"4": "blow up"}, max_force=1001.0).calculate(chain(4))
    assert result.forces[0].tolist() == [0.0, 600.0, 800.0]


def test_a_torn_record_of_failures_is_named(make: Callable[..., Parent], tmp_path: Path) -> None:
    path = tmp_path / "failures.json"
    for content in ('{"format": "nearsight-fail', '{"format": "nearsight-failures", "version": 1}'):
        path.write_text(content)
        with pytest.raises(DamagedFileError) as caught:
            make()
        assert str(path) in str(caught.value)
        assert "delete it" in str(caught.value)
        assert "\n" not in str(caught.value)


# -- engines


def spawned() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def test_all_engines_give_the_same_bits(make: Callable[..., Parent], local: LocalExecutor) -> None:
    structures = [*CHAINS, bulk("Cu", cubic=True), molecule("H2O")]
    found = []
    with ThreadPoolExecutor(3) as threads, spawned() as processes:
        for executor in (None, local, threads, processes):
            results = make(database=None, executor=executor).calculate_many(
                structures, stress=False
            )
            assert all(isinstance(result, ParentResult) for result in results)
            found.append([(r.energy.hex(), r.forces.tobytes()) for r in results])  # type: ignore[union-attr]
    assert found[1:] == found[:1] * 3
    for result, atoms in zip(make().calculate_many(structures), structures, strict=True):
        assert_right(result, atoms)


def test_stress_through_an_engine(make: Callable[..., Parent], local: LocalExecutor) -> None:
    inline, elsewhere = (
        make(database=None, executor=executor).calculate(bulk("Cu", cubic=True), stress=True)
        for executor in (None, local)
    )
    assert inline.stress is not None
    assert elsewhere.stress is not None
    assert inline.stress.tobytes() == elsewhere.stress.tobytes()


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_one_structure_twice_is_one_calculation(
    make: Callable[..., Parent], local: LocalExecutor, log: Path, engine: str
) -> None:
    parent = make({"5": "raise"}, executor=local if engine == "local" else None)
    structures = [chain(3), chain(5), chain(3), chain(4), chain(5), chain(3)]
    found = parent.calculate_many(structures)
    assert sorted(tries(log)) == ["3 0.1", "4 0.1", "5 0.1"]
    assert parent.calculations == parent.known == 2
    for number in (0, 2, 5):
        assert_right(found[number], chain(3))
    assert found[1] == found[4]
    assert isinstance(found[1], Failure)


def test_a_killed_process_is_the_fault_of_its_own_calculation(
    make: Callable[..., Parent], local: LocalExecutor, log: Path
) -> None:
    parent = make({"4": "kill"}, executor=local, engine=ExecutorSettings(resubmissions=2))
    found = parent.calculate_many(CHAINS)
    how = "WorkerLost: its process ended with signal SIGKILL"
    assert found[2] == Failure("Cu4 (4 atoms)", (f"{how} (so it ended 3 times)",))
    for result, atoms in zip(found, CHAINS, strict=True):
        if len(atoms) != 4:
            assert_right(result, atoms)
    assert sorted(tries(log)) == ["2 0.1", "3 0.1", *["4 0.1"] * 3, "5 0.1", "6 0.1", "7 0.1"]
    (event,) = (each for each in on_record(parent) if each["given_up"])
    assert event["lost"] == [how] * 3


def test_a_process_killed_once_costs_nothing_but_time(
    make: Callable[..., Parent], local: LocalExecutor
) -> None:
    parent = make({"4": "kill once"}, executor=local, engine=ExecutorSettings(resubmissions=1))
    notes: list[str] = []
    found = parent.calculate_many(CHAINS, note=notes.append)
    for result, atoms in zip(found, CHAINS, strict=True):
        assert_right(result, atoms)
    how = "WorkerLost: its process ended with signal SIGKILL"
    assert notes == [f"calculating Cu4 (4 atoms) again: {how}"]
    (event,) = (each for each in on_record(parent) if each["structure"] == "Cu4 (4 atoms)")
    assert "WorkerLost: its process ended with signal SIGKILL" in event["lost"]
    assert event["failed"] == []
    assert parent.failures.given_up() == []


def test_after_too_many_losses_the_retries_come(
    make: Callable[..., Parent], local: LocalExecutor, log: Path
) -> None:
    parent = make(
        {"4": "kill"},
        executor=local,
        engine=ExecutorSettings(resubmissions=0),
        retries=[{"mixer": 0.2, "faults": {}}],
    )
    assert_right(parent.calculate(chain(4)), chain(4))
    assert tries(log) == ["4 0.1", "4 0.2"]


def test_out_of_time(make: Callable[..., Parent], log: Path) -> None:
    with LocalExecutor(2, timeout=8.0) as executor:
        parent = make(
            {"4": "sleep", "5": "sleep"}, executor=executor, retries=[{"faults": {"5": "sleep"}}]
        )
        found = parent.calculate_many(CHAINS)
    assert found[3] == Failure("Cu5 (5 atoms)", ("no result after 8 s",) * 2)
    for number in (0, 1, 2, 4, 5):
        assert_right(found[number], CHAINS[number])
    assert on_record(parent)[0]["failed"] == ["no result after 8 s"]


class Scripted(Executor):
    """Carries out calls at once, but for those of structures it is told about.

    Parameters
    ----------
    error : exception
        What calls with a structure of four atoms end with.
    times : int
        How often.
    """

    def __init__(self, error: Exception | None = None, times: int = 0) -> None:
        self.calls: list[list[int]] = []
        self._error = error
        self._left = times

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        sizes = [len(task["structure"]["numbers"]) for task in args[0]]
        self.calls.append(sizes)
        if 4 in sizes and self._error is not None and self._left:
            self._left -= 1
            future.set_exception(self._error)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_several_calculations_in_a_call(make: Callable[..., Parent]) -> None:
    executor = Scripted()
    engine = ExecutorSettings(workers=2, per_job=4)
    found = make({"3": "raise"}, executor=executor, engine=engine).calculate_many(CHAINS)
    assert executor.calls == [[2, 3, 4, 5], [6, 7]]
    assert isinstance(found[1], Failure)
    for number in (0, 2, 3, 4, 5):
        assert_right(found[number], CHAINS[number])


@pytest.mark.parametrize("error", [WorkerLost("it is gone"), TimeoutError("no result after 1 s")])
@pytest.mark.parametrize("resubmissions", [0, 3])
def test_of_a_lost_call_each_calculation_goes_alone(
    make: Callable[..., Parent], error: Exception, resubmissions: int
) -> None:
    executor = Scripted(error, times=1)
    engine = ExecutorSettings(workers=1, per_job=3, resubmissions=resubmissions)
    parent = make(executor=executor, engine=engine)
    for result, atoms in zip(parent.calculate_many(CHAINS), CHAINS, strict=True):
        assert_right(result, atoms)
    assert executor.calls == [[2, 3, 4], [5, 6, 7], [2], [3], [4]]


@pytest.mark.parametrize(
    "value", [{}, [], [{"energy": 1.0}], [{"failure": "a", "more": 1}], [3], "planted", None]
)
def test_a_result_of_another_kind_is_a_lost_call(make: Callable[..., Parent], value: Any) -> None:
    class Planted(Scripted):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(value)
            return future

    (found,) = make(executor=Planted()).calculate_many([chain(4)])
    assert isinstance(found, Failure)
    assert found.reasons[0].endswith("(so it ended 4 times)")


def test_here_each_is_committed_before_the_next_begins(
    make: Callable[..., Parent],
) -> None:
    parent = make({"4": "interrupt"}, engine=ExecutorSettings(per_job=6))
    with pytest.raises(KeyboardInterrupt):
        parent.calculate_many(CHAINS)
    assert parent.known == 2


class Crowd(ThreadPoolExecutor):
    """Notes how many calls there are at once, and holds them for a moment."""

    def __init__(self) -> None:
        super().__init__(20)
        self._now = 0
        self.most = 0
        self._lock = threading.Lock()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        return super().submit(self._held, fn, *args)

    def _held(self, fn: Any, *args: Any) -> Any:
        time.sleep(0.02)
        result = fn(*args)
        with self._lock:
            self._now -= 1
        return result


@pytest.mark.parametrize("workers", [1, 3])
def test_never_more_calls_than_workers(make: Callable[..., Parent], workers: int) -> None:
    with Crowd() as crowd:
        parent = make(executor=crowd, engine=ExecutorSettings(workers=workers))
        parent.calculate_many([chain(count) for count in range(2, 14)])
    assert crowd.most == workers


class Silent(Scripted):
    """Takes calls and never answers."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


def test_waiting_has_an_end(make: Callable[..., Parent]) -> None:
    parent = make(executor=Silent(), engine=ExecutorSettings(workers=3, patience=1e-5))
    with pytest.raises(ParentError) as caught:
        parent.calculate_many(CHAINS)
    assert f"waited 1e-05 h for 3 calculations of parent {FAULTY}" in str(caught.value)


def test_an_engine_that_is_shut_down(make: Callable[..., Parent]) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(ParentError) as caught:
        make(executor=executor).calculate(chain(3))
    assert FAULTY in str(caught.value)
    assert "cannot schedule new futures after shutdown" in str(caught.value)


def test_an_engine_that_breaks_keeps_what_was_done(make: Callable[..., Parent]) -> None:
    """Python's own pool of processes breaks down as a whole when one of them is killed."""
    with spawned() as processes:
        parent = make({"7": "kill"}, executor=processes, engine=ExecutorSettings(workers=1))
        with pytest.raises(ParentError) as caught:
            parent.calculate_many(CHAINS)
    sentence = str(caught.value)
    assert FAULTY in sentence
    assert "\n" not in sentence
    assert parent.known == 5


# -- what tells calculations apart


def test_settings_of_chunks_and_bulk(log: Path, tmp_path: Path) -> None:
    database = tmp_path / "parent.db"

    def parent(**settings: Any) -> Parent:
        arguments = {"log": str(log), "mixer": 0.1}
        return Parent(FAULTY, arguments, database, **settings)

    crystal = bulk("Cu", cubic=True)
    both = parent(chunks={"mixer": 0.2}, bulk={"mixer": 0.3})
    both.calculate_many([chain(3), crystal])
    assert tries(log) == ["3 0.2", "4 0.3"]
    # whatever the way arguments are written, a calculation is known by what it was made with
    assert not parent().calculate(chain(3)).cached
    assert parent(chunks={"mixer": 0.2}).calculate(chain(3)).cached
    assert parent(chunks={"mixer": 0.2}, bulk={"mixer": 0.4}).calculate(chain(3)).cached
    assert parent(bulk={"mixer": 0.3}).calculate(crystal).cached
    assert not parent(bulk={"mixer": 0.2}).calculate(crystal).cached
    # what is tried after a failure does not make another parent
    assert parent(bulk={"mixer": 0.3}, retries=[{"mixer": 0.9}]).calculate(crystal).cached


def test_a_database_of_two(make: Callable[..., Parent], tmp_path: Path, log: Path) -> None:
    shared = tmp_path / "shared.db"
    first = make(database=shared, failures=tmp_path / "first.json")
    second = make(database=shared, failures=tmp_path / "second.json")
    first.calculate_many(CHAINS[:4])
    found = second.calculate_many(CHAINS)
    assert (first.calculations, second.calculations) == (4, 2)
    assert [result.cached for result in found] == [True] * 4 + [False] * 2  # type: ignore[union-attr]
    assert len(tries(log)) == 6
    assert first.known == second.known == 6
