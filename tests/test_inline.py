"""Parents in the program itself: what they may do to it, and what it says the next time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.emt import EMT

from helpers.cli import python
from helpers.processes import alive, until
from nearsight.config import ExecutorSettings
from nearsight.errors import ParentError
from nearsight.files.records import BegunRecord
from nearsight.parents import Failure, Parent
from nearsight.parents.folders import AttemptFolders

DRIVER = """\
import sys
from ase.build import bulk
from nearsight.config import ExecutorSettings
from nearsight.parents import Parent
parent = Parent(
    "test_inline:" + sys.argv[1], {}, "parent.db", failures="failures.json",
    engine=ExecutorSettings(resubmissions=1),
)
cells = [bulk("Cu"), bulk("Cu", cubic=True)]
print(*parent.calculate_many(cells, note=print), sep="\\n")
"""


class Dies(EMT):  # type: ignore[misc]
    """EMT that ends its process on one atom."""

    def calculate(self, *arguments: Any) -> None:
        """Calculate, or end."""
        super().calculate(*arguments)
        if len(self.atoms) == 1:
            self.end()

    def end(self) -> None:
        """As a segmentation fault does."""
        os.kill(os.getpid(), signal.SIGSEGV)


class Exits(Dies):
    """EMT that leaves at once."""

    def end(self) -> None:
        """Leave."""
        os._exit(7)


class Interrupts(Dies):
    """EMT that raises what a Ctrl-C raises."""

    def end(self) -> None:
        """Raise."""
        raise KeyboardInterrupt


class Elsewhere(EMT):  # type: ignore[misc]
    """EMT that changes the working folder."""

    def calculate(self, *arguments: Any) -> None:
        """Go and calculate."""
        os.chdir("/")
        super().calculate(*arguments)


class NoFolder(GetPropertiesMixin):  # type: ignore[misc]
    """Calculator without a ``directory`` that writes files where its process is."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def get_property(self, name: str, atoms: Atoms, allow_calculation: bool = True) -> Any:
        """Write a file of a fixed name, and let EMT calculate."""
        Path("scratch").write_text(str(os.getpid()))
        assert Path("scratch").read_text() == str(os.getpid())
        return EMT().get_property(name, atoms)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codes", "cause"),
    [
        ("Dies", [-signal.SIGSEGV] * 2, "its process ended with signal SIGSEGV"),
        ("Exits", [7, 7], "its process ended with exit code 7"),
        ("Interrupts", [1, 1], "KeyboardInterrupt"),
    ],
)
def test_a_parent_that_ends_the_program(
    name: str, codes: list[int], cause: str, tmp_path: Path
) -> None:
    """It ends it twice; then it is calculated elsewhere, and given up like any other failure."""
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{Path(__file__).parent}"}

    def run() -> Any:
        return python("driver.py", name, cwd=tmp_path, **environment)

    for times, code in enumerate(codes, start=1):
        ended = run()
        assert (ended.code == code) if code != 1 else (ended.code in (1, -signal.SIGINT, 130))
        assert BegunRecord.load(tmp_path / "begun.json").times == times
    done = run()
    assert done.code == 0, done.err
    assert "Cu (1 atom) in a process of its own: the program ended 2 times in this" in done.out
    assert cause in done.out
    assert "ParentResult(energy=" in done.out
    assert not (tmp_path / "begun.json").exists()
    assert "Cu (1 atom)" in (tmp_path / "failures.json").read_text()


def test_one_without_a_name_is_given_up(tmp_path: Path) -> None:
    failures = tmp_path / "failures.json"
    for _ in range(2):
        parent = Parent(Interrupts(), failures=failures, engine=ExecutorSettings(resubmissions=1))
        with pytest.raises(KeyboardInterrupt):
            parent.calculate(bulk("Cu"))
    parent = Parent(Interrupts(), failures=failures, engine=ExecutorSettings(resubmissions=1))
    with pytest.raises(ParentError, match="the program ended 2 times in this calculation"):
        parent.calculate(bulk("Cu"))
    assert not isinstance(parent.calculate_many([bulk("Cu", cubic=True)])[0], Failure)


def test_a_mark_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "begun.json").write_text("{")
    parent = Parent("emt", failures=tmp_path / "failures.json")
    parent.calculate(bulk("Cu"))
    assert not (tmp_path / "begun.json").exists()


def test_a_parent_that_changes_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Parent(Elsewhere).calculate(bulk("Cu"))
    assert Path.cwd() == tmp_path


def test_a_calculator_that_cannot_be_told_where_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works in the folder of the attempt, in a child of this process."""
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    parent = Parent("test_inline:NoFolder")
    parent.attach(None, folders=AttemptFolders(tmp_path / "parent", "all"))
    results = parent.calculate_many([bulk("Cu"), bulk("Cu", cubic=True)])
    assert results[0].energy == Parent("emt").calculate(bulk("Cu")).energy  # type: ignore[union-attr]
    assert list(Path.cwd().iterdir()) == []
    written = [path.read_text() for path in (tmp_path / "parent").glob("*/scratch")]
    assert len(written) == 2
    assert set(written) == {written[0]} != {str(os.getpid())}


class Starts(EMT):  # type: ignore[misc]
    """EMT that waits for a program which has left its process group and session."""

    def calculate(self, *arguments: Any) -> None:
        """Start it, note its number, and wait."""
        super().calculate(*arguments)
        log = Path(os.environ["STARTED"])
        if log.exists():
            return  # only the first time
        program = subprocess.Popen(["sleep", "100"], start_new_session=True)
        log.with_suffix(".new").write_text(str(program.pid))
        log.with_suffix(".new").rename(log)
        program.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_it_has_started_outlives_a_calculation(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "driver.py").write_text(
        "import signal, sys\n"
        "from nearsight.cli.app import translate_errors\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"with translate_errors():\n    exec({DRIVER!r})\n"
    )
    log = tmp_path / "started"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "STARTED": str(log)}
    command = [sys.executable, "driver.py", "Starts"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as run:
        until(log.exists)
        started = int(log.read_text())
        assert alive(started)
        run.send_signal(number)
        run.wait(60)
    assert alive(started) == (number == signal.SIGKILL)
    again = python("driver.py", "Starts", cwd=tmp_path, **environment)
    assert "ParentResult" in again.out, again.err
    assert not alive(started)
