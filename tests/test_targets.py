"""Targets of any composition and boundary, through every stage, with what `new` proposes."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.cluster import Icosahedron
from ase.neighborlist import neighbor_list

from helpers.runs import reduced
from nearsight import Ensemble, SymmetryFunctions
from nearsight.config import Config
from nearsight.run.run import Run
from nearsight.run.suggest import suggest_config
from nearsight.structures.chunks import extract_chunks
from nearsight.structures.images import read_images


def cluster(shells: int, *elements: str) -> Atoms:
    """A rattled icosahedron, the elements in equal parts, shuffled."""
    found = Icosahedron("Ag", shells, latticeconstant=4.0)
    atoms = Atoms(found.symbols, found.positions)
    symbols = [elements[k % len(elements)] for k in range(len(atoms))]
    atoms.symbols = np.random.default_rng(1).permutation(symbols)
    atoms.rattle(0.1, seed=2)
    return atoms


def run(target: Atoms, folder: Path) -> dict[str, object]:
    """The report of a proposed run, made small."""
    ase.io.write(folder / "target.xyz", target, format="extxyz")
    config = suggest_config(target, folder / "target.xyz", "emt")
    Run(reduced(config), folder / "run").execute()
    return dict(json.loads((folder / "run" / "report.json").read_text()))


def test_four_elements_through_every_stage(tmp_path: Path) -> None:
    elements = {"Cu", "Pd", "Ag", "Au"}
    report = run(cluster(3, "Pd", "Ag", "Au", "Cu"), tmp_path)
    folder = tmp_path / "run"
    assert report["target"] == {"n_atoms": 55}
    # the tetragonal crystal has two sites: four elements alone, six pairs, and each is rattled
    cells = read_images(folder / "initial.extxyz")
    assert {frozenset(image.atoms.symbols) for image in cells} == {
        frozenset({one, other}) for one in elements for other in elements
    }
    assert {len(set(image.atoms.symbols)) for image in cells if len(image.atoms) > 2} == {2}
    functions = SymmetryFunctions.load(folder / "symmetry_functions.json")
    assert set(functions.elements) == elements
    ensemble = Ensemble.load(folder / "best.json")
    assert all(set(member) == elements for member in ensemble.members)
    assert 0 < ensemble.calibration < np.inf
    chunks = read_images(folder / "iteration-001" / "chunks.extxyz")
    assert all(len(chunk.forces) == len(chunk.atoms) for chunk in chunks)
    assert all(chunk.chunk and chunk.energy is not None for chunk in chunks)
    assert report["iterations"][-1]["chunks"] == len(chunks) == 4  # type: ignore[index]


def test_thirteen_atoms(tmp_path: Path) -> None:
    """Every chunk is the whole cluster, cut around another atom."""
    target = cluster(2, "Cu")
    assert suggest_config(target, Path("x"), "emt").nft.max_chunks == 8
    report = run(target, tmp_path)
    assert report["target"] == {"n_atoms": 13}
    chunks = read_images(tmp_path / "run" / "iteration-001" / "chunks.extxyz")
    assert [len(chunk.atoms) for chunk in chunks] == [13] * 4


def test_an_adatom_at_the_edge_of_a_slab() -> None:
    """Its neighbours are those of one in the middle, most of them periodic images."""
    counts = []
    for offset in ((0, 0), (2, 2)):
        slab = fcc111("Pt", (4, 4, 3), vacuum=8.0)
        add_adsorbate(slab, "Pt", 2.2, position="fcc", offset=offset)
        slab.pbc = (True, True, False)
        adatom = len(slab) - 1
        chunk, other = extract_chunks(slab, [adatom, 0], 5.0)
        distances = np.linalg.norm(chunk.positions - chunk.positions[0], axis=1)
        expected = neighbor_list("d", slab, 5.0)[neighbor_list("i", slab, 5.0) == adatom]
        np.testing.assert_allclose(np.sort(distances[1:]), np.sort(expected), atol=1e-9)
        assert len(chunk) < len(other)
        counts.append(len(chunk))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("target", "chunks", "functions", "images"),
    [
        (cluster(2, "Cu"), 8, 40, 20),
        (cluster(3, "Pt"), 18, 40, 20),
        (cluster(5, "Pt"), 25, 40, 20),
        (cluster(5, "Cu", "Au"), 50, 40, 30),
        (cluster(5, "Pd", "Ag", "Au"), 75, 60, 60),
        (cluster(6, "Pd", "Ag", "Au", "Cu"), 100, 60, 60),
    ],
    ids=lambda value: value.symbols.get_chemical_formula() if isinstance(value, Atoms) else "",
)
def test_new_suggests_settings_for_every_kind_of_target(
    target: Atoms, chunks: int, functions: int, images: int
) -> None:
    """At most a third of the atoms is asked for, unless that is fewer than 8."""
    config = suggest_config(target, Path("particle.xyz"), "emt")
    assert config.nft.max_chunks == chunks
    later = (config.nft.max_iterations - 1) * config.nft.chunks_per_iteration
    assert config.nft.first_chunks + later >= chunks
    assert config.features.count == functions
    assert config.features.with_target
    assert config.images.count == images
    assert config.initial.elements is not None
    assert set(config.initial.elements) == set(target.symbols)
    assert Config.parse(config.source).model_dump() == config.model_dump()


@pytest.mark.parametrize(
    ("target", "angular", "cutoffs"),
    [
        # twice and 1.6 times the distance of neighbours, a / √2 in fcc, a √3 / 2 in bcc, a in hcp
        (cluster(3, "Pt"), 14, (2 * 3.92 / 2**0.5, 1.6 * 3.92 / 2**0.5)),
        (cluster(5, "Cu", "Au"), 16, (2 * 4.08 / 2**0.5, 1.6 * 4.08 / 2**0.5)),
        (bulk("Fe", cubic=True) * 2, 14, (2.87 * 3**0.5, 0.8 * 2.87 * 3**0.5)),
        (bulk("Mg") * 2, 14, (2 * 3.21, 1.6 * 3.21)),
        # never farther than the default, 6.5 Å
        (bulk("Na", cubic=True) * 2, 14, (6.5, 0.8 * 4.23 * 3**0.5)),
        (bulk("Cs", cubic=True) * 2, 14, (6.5, None)),
    ],
    ids=["Pt", "CuAu", "Fe", "Mg", "Na", "Cs"],
)
def test_symmetry_functions_of_metals_reach_as_far_as_shells_of_neighbours(
    target: Atoms, angular: int, cutoffs: tuple[float, float | None]
) -> None:
    features = suggest_config(target, Path("x"), "emt").features
    assert features.angular_count == angular
    assert (features.cutoff, features.angular_cutoff) == pytest.approx(cutoffs, abs=0.051)


def test_relaxations_of_large_targets_write_every_tenth_frame() -> None:
    relaxation = suggest_config(bulk("Cu").repeat((21, 22, 22)), Path("x"), "emt").relaxation
    assert relaxation is not None
    assert relaxation.write_every == 10
    assert not relaxation.with_parent


def test_what_is_no_metal_has_the_usual_symmetry_functions() -> None:
    features = suggest_config(bulk("Si", cubic=True), Path("x"), "emt").features
    assert features.angular_count is None
    assert (features.cutoff, features.angular_cutoff) == (6.5, None)


def test_alloys_are_rattled_farther_than_one_element() -> None:
    one = suggest_config(cluster(5, "Cu"), Path("x"), "emt").initial
    two = suggest_config(cluster(5, "Cu", "Au"), Path("x"), "emt").initial
    assert (one.posamp, one.n_rattled) == (0.03, 10)
    assert (two.posamp, two.n_rattled) == (0.1, 5)
    # room for that: below the nearest neighbours in copper, 2.55 Å, by four times 0.1 √2
    assert two.minsep == pytest.approx(2.55 - 4 * 0.1 * 2**0.5, abs=0.02)


def test_a_periodic_target_of_one_cell_is_as_good_as_any(tmp_path: Path) -> None:
    """A bulk cell below the chunk radius: chunks hold several images of every atom."""
    target = bulk("Pt", a=3.95, cubic=True) * (2, 1, 1)
    target.rattle(0.1, seed=3)
    report = run(target, tmp_path)
    assert report["target"] == {"n_atoms": 8}
    chunks = read_images(tmp_path / "run" / "iteration-001" / "chunks.extxyz")
    assert min(len(chunk.atoms) for chunk in chunks) > 6 * 8
