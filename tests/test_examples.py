"""The four scripts of the SI, one after the other in one folder, as a reader would run them, and
one configuration for every kind of target, made small."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from helpers.runs import CHUNKS, reduced
from nearsight import Ensemble, SymmetryFunctions
from nearsight.config import Config
from nearsight.run.run import Run
from nearsight.structures.images import Image, read_images, read_structure

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scripts have been run."""
    folder = tmp_path_factory.mktemp("si")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for step in ("initialization", "image_selection", "feature_selection", "active_learning"):
            runpy.run_path(str(EXAMPLES / f"si_{step}.py"), run_name="__main__")
    return folder


def sizes(images: list[Image]) -> dict[int, int]:
    return dict(Counter(len(image.atoms) for image in images))


@pytest.mark.slow
class TestChain:
    def test_initial_cells(self, folder: Path) -> None:
        # SI 7.2: 9 tetragonal cells with 2 atoms, 4 fcc with 4, 10 with 16, 10 with 32
        assert sizes(read_images(folder / "initial.extxyz")) == {2: 9, 4: 4, 16: 10, 32: 10}

    def test_chosen_cells(self, folder: Path) -> None:
        initial, chosen, unchosen = (
            [tuple(image.atoms.positions.ravel()) for image in read_images(folder / name)]
            for name in ("initial.extxyz", "chosen.extxyz", "unchosen.extxyz")
        )
        assert len(chosen) == 20
        assert sorted(chosen + unchosen) == sorted(initial)

    def test_symmetry_functions(self, folder: Path) -> None:
        functions = SymmetryFunctions.load(folder / "symmetry_functions.json")
        assert functions.size("Pt") == 21
        assert functions.cutoff.radius == 6.5
        candidates = SymmetryFunctions.candidates(["Pt"], 6.5)
        assert set(functions.functions["Pt"]) <= set(candidates.functions["Pt"])

    def test_active_learning(self, folder: Path, pt260: Atoms) -> None:
        paths = sorted(folder.glob("iteration-*/evaluation.json"))
        found = [json.loads(path.read_text()) for path in paths]
        uncertainties = [max(each["uncertainty_raw"]) for each in found]
        for each in found[:-1]:  # the upper fifth of 260 atoms, less those known already
            upper = np.argsort(each["uncertainty_raw"])[-52:]
            assert set(each["new_indices"]) == set(upper) - set(each["chunk_indices"])
        assert uncertainties[-1] <= 0.10 < min(uncertainties[:-1])
        assert found[-1]["stop_reason"] == "the uncertainty is at most 0.1 eV/Å"

        best = folder / "best.json"
        assert best.read_bytes() == (paths[-1].parent / "ensemble.json").read_bytes()
        ensemble = Ensemble.load(best)
        assert len(ensemble) == 10
        layers = ensemble.members[0]["Pt"].layers
        assert [layer.weights.shape for layer in layers] == [(10, 21), (10, 10), (1, 10)]
        errors = np.linalg.norm(ensemble.evaluate(pt260).forces - emt_forces(pt260), axis=1)
        # the paper's 144 chunks (threshold -0.9) gave 3.74 meV/Å
        assert errors.mean() < 0.00374

    def test_chunks_are_labelled_by_emt(self, folder: Path) -> None:
        parents = [
            row
            for row in ase.io.read(folder / "parent.db", ":")
            if not row.pbc.any()  # the chunks; the cells are periodic
        ]
        last = json.loads(sorted(folder.glob("iteration-*/evaluation.json"))[-1].read_text())
        assert len(parents) == len(last["chunk_indices"])


def emt_forces(atoms: Atoms) -> np.ndarray:
    atoms = atoms.copy()
    atoms.calc = EMT()
    return atoms.get_forces()


# -- one configuration for every kind of target

KINDS = ["alloy_cuau", "alloy_pdagau", "core_shell_cupt", "slab_pt111", "grain_boundary_pt"]


@pytest.fixture(scope="module", params=KINDS)
def example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Atoms, Path]:
    """The target of an example and the folder of its run, made small."""
    config = Config.load(EXAMPLES / f"{request.param}.toml")
    folder = tmp_path_factory.mktemp(request.param) / "run"
    Run(reduced(config), folder).execute()
    return read_structure(config.target.structure), folder


def test_an_example_is_run_as_a_whole(example: tuple[Atoms, Path]) -> None:
    target, folder = example
    report = json.loads((folder / "report.json").read_text())
    last = report["iterations"][-1]
    assert report["target"]["n_atoms"] == len(target)
    assert last["chunks"] == CHUNKS
    assert report["relaxation"]["steps"] == 2
    before, after = (
        json.loads((folder / f"iteration-00{k}" / "evaluation.json").read_text()) for k in (0, 1)
    )
    was, now = (np.linalg.norm(k["forces"] - emt_forces(target), axis=1) for k in (before, after))
    assert np.median(now) < 0.8 * np.median(was)
    assert set(Ensemble.load(folder / "best.json").elements) == set(target.symbols)


def test_chunks_are_cut_across_the_edges_of_the_cell(example: tuple[Atoms, Path]) -> None:
    target, folder = example
    last = json.loads((folder / "iteration-001" / "evaluation.json").read_text())
    neighbours = np.bincount(neighbor_list("i", target, 6.0), minlength=len(target))
    chunks = [
        row
        for row in ase.io.read(folder / "parent.db", ":")
        if not row.pbc.any() and len(row) < len(target)  # neither the cells nor the target
    ]
    # one more is larger, and never trained on
    assert len(chunks) == CHUNKS + (last["validation_error"] is not None)
    expected = Counter(1 + neighbours[last["chunk_indices"]])
    assert Counter(len(chunk) for chunk in chunks) >= expected
    larger = 1 + np.bincount(neighbor_list("i", target, 1.16 * 6.0), minlength=len(target))
    others = Counter(len(chunk) for chunk in chunks) - expected
    assert set(others) <= set(larger)


# -- labels from the whole target


def small_distillation() -> Config:
    """The example with CHGNet made small, and with EMT, which every machine has."""
    config = Config.load(EXAMPLES / "pt201_chgnet.toml")
    geometries = {"first": 2, "per_iteration": 1, "max_geometries": 3, "validation": 1, "steps": 10}
    return reduced(config).model_copy(
        update={
            "parent": config.parent.model_copy(update={"calculator": "emt"}),
            "geometries": config.geometries.model_copy(update=geometries),
        }
    )


def test_a_distillation_is_run_as_a_whole(tmp_path: Path) -> None:
    config = small_distillation()
    Run(config, tmp_path / "run").execute()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["labels"] == "geometries"
    assert [each["chunks"] for each in report["iterations"]] == [0, 2, 3]
    first, *_, last = report["iterations"]
    assert last["validation_error"] < 0.3 * first["mae"]
    # in calculations of the whole target: three, and one to validate
    cost = report["cost"]
    assert (cost["chunks"], cost["validation"], cost["exponent"]) == (3.0, 1.0, 1.0)
    assert report["relaxation"]["parent_fmax_at_minimum"] > 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "trained with 3 geometries of the target" in page
    assert "Chunk radius" not in page
    assert not (tmp_path / "run" / "iteration-001" / "chunks.extxyz").exists()


def test_the_factory_gives_free_particles_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """With EMT in CHGNet's place, which is not installed everywhere."""
    module = runpy.run_path(str(EXAMPLES / "chgnet_parent.py"))
    inner = EMT()
    boxed = module["Boxed"]
    monkeypatch.setitem(boxed.calculate.__globals__, "model", lambda: inner)
    target = read_structure(EXAMPLES / "pt201.extxyz")
    copy = target.copy()
    copy.calc = boxed()
    np.testing.assert_allclose(copy.get_forces(), emt_forces(target), atol=1e-9)
    assert inner.atoms.pbc.all()
    assert inner.atoms.positions.min() == pytest.approx(8.0)
    cell = ase.build.bulk("Pt", cubic=True)
    cell.calc = boxed()
    cell.get_stress()
    np.testing.assert_array_equal(inner.atoms.cell, cell.cell)
