"""What physics demands of every structure, as properties."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from helpers import Array
from helpers.structures import ELEMENTS, functions_of, random_ensemble, scattered, structure
from nearsight.model.ensemble import Ensemble, Evaluation
from nearsight.model.scaling import Scaling

quick = settings(max_examples=20, deadline=None, derandomize=True)
SEEDS = st.integers(min_value=0, max_value=2**32 - 1)


@cache
def ensemble() -> Ensemble:
    """Three members, three elements; features between zero and those of a crystal are in range.

    The cutoff is larger than most of the cells below.
    """
    dense = random_ensemble(functions_of(ELEMENTS, 5.0), structure("supercell", 3))
    maximum = dense.scaling.maximum
    return replace(dense, scaling=Scaling({e: 0.0 * x for e, x in maximum.items()}, maximum))


def evaluate(atoms: Atoms) -> Evaluation:
    return ensemble().evaluate(atoms, threads=1)


TOLERANCE = 1e-10
"""eV, eV/Å. Moved coordinates are rounded at 1e-15 of up to 100 Å, which derivatives of up to some
hundred eV/Å² make 1e-11 eV/Å."""


@st.composite
def structures(draw: st.DrawFn, periodic: int | None = None) -> Atoms:
    """Three to six atoms of three elements, in a random cell or none."""
    n = draw(st.integers(3, 6))
    seed = draw(SEEDS)
    pbc = draw(st.sampled_from([0, 1, 2, 3])) if periodic is None else periodic
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(4.5, 6.5, 3)
    positions = scattered(n, lengths - 1.8, seed, 1.6)
    atoms = Atoms(rng.permutation(np.resize(ELEMENTS, n)), positions)
    cell = np.diag(lengths) + rng.uniform(-0.6, 0.6, (3, 3)) * (1.0 - np.eye(3))
    if pbc:
        directions = rng.permutation(3) < pbc
        atoms.set_cell(cell * directions[:, None])
        atoms.pbc = directions
    return atoms


def assert_same(
    one: Any, two: Any, order: Any = slice(None), rotation: Array | None = None
) -> None:
    """``two`` is ``one`` with its atoms in another order and the axes rotated."""
    rotation = np.eye(3) if rotation is None else rotation
    np.testing.assert_allclose(two.member_energies, one.member_energies, atol=TOLERANCE)
    np.testing.assert_allclose(two.energies, one.energies[order], atol=TOLERANCE)
    np.testing.assert_allclose(two.forces, (one.forces @ rotation.T)[order], atol=TOLERANCE)
    rotated = (one.member_forces @ rotation.T)[:, order]
    np.testing.assert_allclose(two.member_forces, rotated, atol=TOLERANCE)
    np.testing.assert_allclose(two.uncertainty, one.uncertainty[order], atol=TOLERANCE)
    assert (one.stress is None) == (two.stress is None)
    if one.stress is not None:
        stress = rotation @ voigt_6_to_full_3x3_stress(one.stress) @ rotation.T
        np.testing.assert_allclose(two.stress, full_3x3_to_voigt_6_stress(stress), atol=TOLERANCE)


@quick
@given(structures(), SEEDS)
def test_translation(atoms: Atoms, seed: int) -> None:
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).uniform(-30.0, 30.0, 3)
    assert_same(evaluate(atoms), evaluate(moved))


@quick
@given(structures(), SEEDS, st.booleans())
def test_rotation_and_reflection(atoms: Atoms, seed: int, mirror: bool) -> None:
    rotation = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    if mirror:
        rotation = -rotation
    moved = atoms.copy()
    moved.set_cell(np.asarray(atoms.cell) @ rotation.T)
    moved.positions = atoms.positions @ rotation.T
    assert_same(evaluate(atoms), evaluate(moved), rotation=rotation)


@quick
@given(structures(), SEEDS)
def test_permutation(atoms: Atoms, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(atoms))
    assert_same(evaluate(atoms), evaluate(atoms[order]), order)


@quick
@given(structures(), SEEDS)
def test_shifts_of_atoms_by_cell_vectors(atoms: Atoms, seed: int) -> None:
    """Every atom moved by whole cell vectors of its own."""
    moved = atoms.copy()
    shifts = np.random.default_rng(seed).integers(-4, 5, (len(atoms), 3)) * atoms.pbc
    moved.positions += shifts @ np.asarray(atoms.cell)
    assert_same(evaluate(atoms), evaluate(moved))


@quick
@given(structures(periodic=3), SEEDS)
def test_other_vectors_of_the_same_lattice(atoms: Atoms, seed: int) -> None:
    """A unimodular change of the cell vectors: a skewed cell of the same crystal."""
    rng = np.random.default_rng(seed)
    change = np.eye(3, dtype=int)
    for _ in range(2):
        a, b = rng.choice(3, 2, replace=False)
        step = np.eye(3, dtype=int)
        step[a, b] = rng.integers(-2, 3)
        change = step @ change
    skewed = atoms.copy()
    skewed.set_cell(change @ np.asarray(atoms.cell))
    assert_same(evaluate(atoms), evaluate(skewed))


@quick
@given(structures(), st.tuples(*[st.integers(1, 3)] * 3).filter(lambda n: 1 < np.prod(n) <= 6))
def test_supercell(atoms: Atoms, repeats: tuple[int, int, int]) -> None:
    repeats = np.where(atoms.pbc, repeats, 1)
    one, many = evaluate(atoms), evaluate(atoms.repeat(tuple(repeats)))
    copies = int(np.prod(repeats))
    np.testing.assert_allclose(many.energy, copies * one.energy, atol=copies * TOLERANCE)
    np.testing.assert_allclose(many.energies, np.tile(one.energies, copies), atol=TOLERANCE)
    np.testing.assert_allclose(many.forces, np.tile(one.forces, (copies, 1)), atol=TOLERANCE)
    uncertainty = np.tile(one.uncertainty, copies)
    np.testing.assert_allclose(many.uncertainty, uncertainty, atol=TOLERANCE)
    if one.stress is not None:
        np.testing.assert_allclose(many.stress, one.stress, atol=TOLERANCE)


@quick
@given(structures())
def test_forces_add_up_to_nothing(atoms: Atoms) -> None:
    r = evaluate(atoms)
    np.testing.assert_allclose(r.member_forces.sum(axis=1), 0.0, atol=TOLERANCE)
    if not atoms.pbc.any():  # neither do they turn it
        torque = np.cross(atoms.positions, r.member_forces).sum(axis=1)
        np.testing.assert_allclose(torque, 0.0, atol=10.0 * TOLERANCE)
    assert np.abs(r.forces).max() > 1e-3


@quick
@given(structures(periodic=0), structures(periodic=0))
def test_what_is_far_apart_does_not_interact(one: Any, two: Any) -> None:
    both = one + two
    both.positions[len(one) :] += [60.0, -10.0, 20.0]
    a, b, together = (evaluate(s) for s in (one, two, both))
    np.testing.assert_allclose(together.energy, a.energy + b.energy, atol=TOLERANCE)
    forces = np.concatenate([a.forces, b.forces])
    np.testing.assert_allclose(together.forces, forces, atol=TOLERANCE)


@quick
@given(st.sampled_from(ELEMENTS), st.sampled_from(ELEMENTS))
def test_nothing_jumps_where_an_atom_enters_the_cutoff(first: str, second: str) -> None:
    """Two pairs at the distance Rc, a little closer and a little farther away."""
    rc = ensemble().functions.cutoff.radius
    found = []
    for distance in (rc - 1e-7, rc + 1e-7):
        positions = [[0, 0, 0], [2.3, 0, 0], [0, distance, 0], [2.3, distance, 0]]
        found.append(evaluate(Atoms([first, second] * 2, positions)))
    np.testing.assert_allclose(found[0].energies, found[1].energies, atol=1e-11)
    np.testing.assert_allclose(found[0].forces, found[1].forces, atol=1e-6)
