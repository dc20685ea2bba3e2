"""Every attempt has a folder of its own: file-based codes never get each other's results."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from helpers.file_based import FILE_BASED, FileBasedEMT, check_labels, rattled_cells, truth
from nearsight.config import ExecutorSettings
from nearsight.errors import ParentError
from nearsight.executors import make_executor
from nearsight.parents import Parent
from nearsight.parents.folders import AttemptFolders, attempt_folder, with_absolute_paths
from nearsight.parents.tasks import try_one


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["inline", "local", "threads"])
def test_labels_of_a_file_based_code(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "start"
    here.mkdir()
    monkeypatch.chdir(here)
    cells = rattled_cells(12)
    settings = ExecutorSettings(engine="local", workers=4)
    executor: Executor | None = None
    if engine == "local":
        executor = make_executor(settings, tmp_path)
    elif engine == "threads":
        executor = ThreadPoolExecutor(4)
    parent = Parent(FILE_BASED, {"pause": 0.1}, engine=settings)
    parent.attach(tmp_path / "parent.db", folders=AttemptFolders(tmp_path / "parent"))
    parent.executor = executor
    check_labels(parent, cells)
    if executor is not None:
        executor.shutdown()
    assert list(here.iterdir()) == []
    assert not (tmp_path / "parent").exists()


def test_several_runs_in_one_start_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = rattled_cells(4)
    parents = [Parent(FILE_BASED, {"pause": 0.2}) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit(check_labels, parent, cells[n::2]) for n, parent in enumerate(parents)
        ]:
            done.result()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["inline", "threads", "inline in a thread"])
def test_a_calculator_that_writes_where_its_process_is(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a ``directory``, and pays no heed to it."""
    monkeypatch.chdir(tmp_path)
    parent = Parent("helpers.file_based:WritesHere")
    cells = rattled_cells(3)
    if engine == "inline":
        check_labels(parent, cells)
    else:
        with ThreadPoolExecutor(2) as pool:
            if engine == "threads":
                parent.executor = pool
                check_labels(parent, cells)
            else:
                pool.submit(check_labels, parent, cells).result()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["work", "nowhere"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_directory_among_the_arguments(
    place: str, absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder, there already or not, would be that of all calculations."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    settings = ExecutorSettings(engine="local", workers=2)
    directory = str(tmp_path / place) if absolute else place
    parent = Parent(FILE_BASED, {"pause": 0.3, "directory": directory}, engine=settings)
    with make_executor(settings, tmp_path) as parent.executor:  # type: ignore[union-attr]
        check_labels(parent, rattled_cells(4))
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(("keep", "kept"), [("failed", 1), ("all", 2), ("none", 0)])
def test_what_is_kept(keep: str, kept: int, tmp_path: Path) -> None:
    root = tmp_path / "parent"
    parent = Parent(FILE_BASED, {"fails": 1})
    parent.attach(tmp_path / "parent.db", folders=AttemptFolders(root, keep))  # type: ignore[arg-type]
    failure, result = parent.calculate_many([bulk("Cu"), bulk("Cu", cubic=True)])
    assert len(list(root.glob("*"))) == kept
    assert result.energy == truth(bulk("Cu", cubic=True))[0]  # type: ignore[union-attr]
    if keep != "none":
        place = str(failure).partition("files in ")[2].rstrip(")")
        assert (Path(place) / "why.txt").read_text() == "no convergence"


def test_every_attempt_begins_in_an_empty_folder(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "key-0"
    path.mkdir(parents=True)
    (path / "out.npz").write_text("of an attempt that was killed")
    with attempt_folder(str(path)) as place:
        assert list(Path(place).iterdir()) == []


def test_retries_have_folders_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "parent"
    parent = Parent(FILE_BASED, {"fails": 1}, retries=[{"pause": 0.01}, {"fails": 2}])
    parent.attach(None, folders=AttemptFolders(root))
    assert parent.calculate(bulk("Cu")).energy == truth(bulk("Cu"))[0]
    assert [path.name[-2:] for path in sorted(root.iterdir())] == ["-0", "-1"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Moves", "changed the structure"),
        ("ChangesPeriodicity", "changed the structure"),
        ("LosesPositions", "changed the structure"),
        ("HoldsAnother", "result of another structure"),
        ("HoldsNothing", "result of another structure"),
    ],
)
def test_a_result_belongs_to_the_structure_asked_for(name: str, message: str) -> None:
    with pytest.raises(ParentError, match=message):
        Parent(f"helpers.file_based:{name}").calculate(bulk("Cu", cubic=True))


class Odd(EMT):  # type: ignore[misc]
    """EMT whose forces are masked or complex."""

    def __init__(self, forces: np.ndarray) -> None:
        super().__init__()
        self._forces = forces

    def calculate(self, *arguments: object) -> None:
        """Replace the forces of EMT."""
        super().calculate(*arguments)
        self.results["forces"] = self._forces


@pytest.mark.parametrize(
    ("forces", "message"),
    [
        (np.ma.masked_array(np.zeros((1, 3)), [[0, 1, 0]]), "masked"),
        (np.zeros((1, 3)) + 1j, "real numbers"),
    ],
)
def test_forces_that_are_no_real_numbers(forces: np.ndarray, message: str) -> None:
    outcome = try_one(lambda atoms: (atoms, Odd(forces)), bulk("Cu"), stress=False)
    assert message in outcome["failure"]


def test_the_directory_of_a_calculator_is_given_back(tmp_path: Path) -> None:
    calculator = FileBasedEMT(directory=str(tmp_path))
    Parent(calculator).calculate(bulk("Cu", cubic=True))
    assert calculator.directory == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_paths_hold_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pseudos").mkdir()
    Path("PBE").touch()
    Path("tmp").mkdir()
    given = {
        "pseudo_dir": "pseudos",
        "xc": "PBE",
        "profile": {"path": "./pseudos"},
        "n": ["x/y"],
        "outdir": "./tmp",
    }
    assert with_absolute_paths(given) == {
        "pseudo_dir": str(tmp_path / "pseudos"),
        "xc": "PBE",
        "profile": {"path": str(tmp_path / "pseudos")},
        "n": ["x/y"],
        "outdir": "./tmp",  # of its own files
    }
