"""Chunks that are the same but for their place, rotation, reflection and order are asked for once.

How many there are follows from the symmetry of the structures, by counting by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.cluster import Icosahedron
from scipy.spatial.transform import Rotation

from helpers import Array, copper
from helpers.faulty import FAULTY, Script, digest
from helpers.recorder import Recorder, Stopped
from helpers.trainings import assert_same, train
from nearsight.config import NFTSettings
from nearsight.learning.alike import AT_FIRST, Alike
from nearsight.learning.labels import test_chunks as chunks_for_test
from nearsight.learning.labels import validation_atoms
from nearsight.learning.nft import NFT
from nearsight.learning.policy import choose_atoms
from nearsight.learning.targets import Targets
from nearsight.parents import Parent
from nearsight.structures.chunks import extract_chunks


def plain(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def stand_ins(structures: Any, radius: float) -> list[int]:
    targets = Targets.of(structures)
    return list(Alike(targets, radius).stand_ins(range(len(targets)), []))


ICOSAHEDRON = plain(Icosahedron("Cu", 3))
"""55 atoms: the centre, 12 around it, 12 vertices and 30 in the middle of edges."""
SLAB = plain(fcc111("Pt", (3, 3, 6), vacuum=8.0, periodic=True))
"""Six layers of nine atoms; the upper three are like the lower three."""
LAYERS = fcc111("Pt", (3, 3, 6), vacuum=8.0, periodic=True)
"""The same with tags, by which some parents tell atoms apart."""
ROCK_SALT = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
MAGNETIC = bulk("Fe", cubic=True)
MAGNETIC.set_initial_magnetic_moments([2.0, -2.0])


@pytest.mark.parametrize(
    ("atoms", "sizes"),
    [
        (ICOSAHEDRON, [1, 12, 12, 30]),
        (plain(Icosahedron("Cu", 4)), [1, 12, 12, 12, 20, 30, 60]),
        (SLAB, [18, 18, 18]),
        (LAYERS, [9] * 6),
        (ROCK_SALT, [4, 4]),
        (MAGNETIC, [1, 1]),
        (copper.particle(), [1] * 55),
    ],
    ids=["icosahedron", "147", "slab", "tags", "rock salt", "moments", "rattled"],
)
def test_atoms_that_symmetry_makes_equal(atoms: Atoms, sizes: list[int]) -> None:
    found = stand_ins(atoms, 6.0)
    assert sorted(Counter(found).values()) == sizes
    # each stands for itself, and no later one for an earlier
    assert all(found[i] == i for i in set(found))
    assert all(stands <= i for i, stands in enumerate(found))


def chiral() -> Atoms:
    """No rotation brings it onto its mirror image, nor an atom onto another."""
    positions = np.random.default_rng(3).uniform(0.0, 5.0, (12, 3))
    return Atoms("Cu12", positions)


def turned(atoms: Atoms) -> Atoms:
    atoms.positions = Rotation.from_rotvec([0.3, -1.1, 0.7]).apply(atoms.positions) + 4.0
    return atoms


def reflected(atoms: Atoms) -> Atoms:
    atoms.positions *= [1.0, 1.0, -1.0]
    return turned(atoms)


def rattled(atoms: Atoms) -> Atoms:
    atoms.rattle(0.01, seed=1)
    return atoms


def replaced(atoms: Atoms) -> Atoms:
    atoms.symbols[5] = "Au"
    return atoms


def charged(atoms: Atoms) -> Atoms:
    atoms.set_initial_charges([0.0] * 11 + [1.0])
    return atoms


@pytest.mark.parametrize(
    ("change", "same"),
    [(turned, True), (reflected, True), (rattled, False), (replaced, False), (charged, False)],
)
def test_another_target(change: Callable[[Atoms], Atoms], same: bool) -> None:
    order = np.random.default_rng(0).permutation(12)
    found = stand_ins([chiral(), change(chiral())[order]], 20.0)
    assert found[:12] == list(range(12))
    assert found[12:] == (order.tolist() if same else list(range(12, 24)))


def test_what_the_parent_is_told_counts() -> None:
    one, two = ICOSAHEDRON.copy(), ICOSAHEDRON.copy()
    one.info, two.info = {"field": 0.0}, {"field": 1.0}
    both = Targets.of([one, two], ["field"])
    assert len(set(Alike(both, 6.0).stand_ins(range(110), []))) == 8
    assert len(set(stand_ins([one, two], 6.0))) == 4  # it is not told


def square(symbols: str) -> Atoms:
    """A centre with four atoms around it."""
    return Atoms(f"Pt{symbols}", [[0, 0, 0], [2, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0]])


def test_distances_from_the_centre_alone_do_not_decide() -> None:
    cis, trans, turned_cis = square("AuAuCuCu"), square("AuCuAuCu"), square("AuCuCuAu")
    found = stand_ins([cis, trans, turned_cis], 2.5)
    assert (found[0], found[5], found[10]) == (0, 5, 0)


def test_equal_forces_by_the_parent() -> None:
    """Of chunks that are alike, those on the centre are as long, also in a mirror image."""
    found = stand_ins(ICOSAHEDRON, 4.5)
    forces = [
        np.linalg.norm(copper.emt(chunk)[1][0])
        for chunk in extract_chunks(ICOSAHEDRON, range(55), 4.5)
    ]
    assert forces == pytest.approx([forces[i] for i in found], abs=1e-9)
    assert len(set(np.round(forces, 6))) == len(set(found)) == 4


# -- which are chosen

# of the icosahedron: 0 | 1 to 12 | then vertices and edges
KINDS = stand_ins(ICOSAHEDRON, 6.0)
FIRST = sorted(set(KINDS))
LIKE = {kind: [i for i, k in enumerate(KINDS) if k == kind] for kind in FIRST}


def choose(
    ranked: list[int], seen: list[int], failed: tuple[int, ...] = (), **settings: Any
) -> Any:
    chosen = NFTSettings(**{"chunks_per_iteration": 4, "max_chunks": 30} | settings)
    alike = Alike(Targets.of(ICOSAHEDRON), 6.0)
    return choose_atoms(chosen, ranked, seen, failed, stand_ins=alike.stand_ins)


def test_one_of_each_kind_is_new_in_the_order_of_uncertainty() -> None:
    ranked = [i for kind in reversed(FIRST) for i in reversed(LIKE[kind])]
    assert choose(ranked, []) == ([LIKE[kind][-1] for kind in reversed(FIRST)], [])
    assert choose(ranked, [], chunks_per_iteration=2)[0] == [LIKE[k][-1] for k in FIRST[:1:-1]]
    assert choose(ranked, [], max_chunks=1)[0] == [LIKE[FIRST[-1]][-1]]


def test_one_in_the_training_is_drawn_again_for_all_that_are_like_it() -> None:
    one, two, three, four = (LIKE[kind] for kind in FIRST)
    ranked = [*four[1:], *two, *three, *one]
    assert choose(ranked, [four[0]], chunks_per_iteration=2) == ([two[0], three[0]], [four[0]])
    assert choose([*two, *three, *four], [four[0]], chunks_per_iteration=2)[1] == []
    # of several equal ones, as earlier versions had them, each that is met itself, else the first
    assert choose(four[2:], [four[0], four[1]]) == ([], [four[0]])
    assert choose(four, [four[1], four[2]])[1] == [four[1], four[2]]


def test_what_is_like_one_that_was_given_up_is_given_up() -> None:
    _, two, three, four = (LIKE[kind] for kind in FIRST)
    assert choose([*two, *three, *four], [], (three[4],)) == ([two[0], four[0]], [])


def test_only_as_much_is_compared_as_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large target costs no more; whatever was compared before, the choice is the same."""
    cut: list[int] = []

    def counted(atoms: Atoms, indices: list[int], radius: float) -> list[Atoms]:
        cut.extend(indices)
        return extract_chunks(atoms, indices, radius)

    monkeypatch.setattr("nearsight.learning.alike.extract_chunks", counted)
    large = bulk("Cu", cubic=True).repeat(8)  # 2048 atoms
    large.rattle(0.05, seed=1)
    alike = Alike(Targets.of(large), 6.0)
    assert alike.different(range(len(large)), [], 4) == [0, 1, 2, 3]
    assert len(cut) == AT_FIRST
    assert alike.different(range(len(large)), [0, 1, 2, 3], 4) == [4, 5, 6, 7]
    assert alike.different(range(len(large)), [0, 9], 3) == [1, 2, 3]
    assert len(cut) == len(set(cut))
    assert alike.different([], [0], 3) == alike.different(range(5), [], 0) == []


def test_validation_and_test_chunks_differ() -> None:
    targets = Targets.of(ICOSAHEDRON)
    settings = NFTSettings(chunk_radius=6.0, validation_chunks=3)
    for seed in range(3):
        validating = validation_atoms(targets, settings, seed)
        assert len({KINDS[i] for i in validating}) == 3
        progress = Recorder()
        known = (next(i for i in range(55) if KINDS[i] not in {KINDS[v] for v in validating}),)
        given = (targets, settings, seed, known, 2, Parent("emt"), progress)
        assert chunks_for_test(*given) == ()
        assert progress.notes == ["the target has 0 chunks for a test that are like none in use"]
        (image,) = chunks_for_test(targets, settings, seed, (), 2, Parent("emt"), progress)
        assert KINDS[image.atoms.info["source_index"]] == KINDS[known[0]]


@pytest.mark.parametrize("seed", range(5))
def test_validation_atoms_of_a_rattled_target_are_those_of_before(seed: int) -> None:
    settings = NFTSettings(chunk_radius=6.0, validation_chunks=3)
    expected = np.random.default_rng([seed, 5]).choice(55, 3, replace=False)
    found = validation_atoms(Targets.of(copper.particle()), settings, seed)
    assert found == sorted(expected.tolist())


# -- trainings


def symmetric(nft: NFT, folder: Path, **changed: Any) -> Any:
    return train(nft, folder, target=ICOSAHEDRON, **changed)


SOME = {"first_chunks": 2, "chunks_per_iteration": 1, "max_chunks": 8, "chunk_radius": 6.0}


@pytest.mark.parametrize("make", [copper.whole, copper.nft], ids=["chunk", "center"])
def test_every_kind_is_learned_once_and_an_interruption_changes_nothing(
    make: Callable[..., NFT], tmp_path: Path
) -> None:
    nft = make(steps_not_improved=9, **SOME)
    state = symmetric(nft, tmp_path / "whole")
    assert sorted(KINDS[i] for i in state.chunk_images) == FIRST
    # what is in it is then drawn again, as long as that helps, without the parent
    assert state.history[-2].chunks == state.history[-1].chunks == len(FIRST)
    assert state.stop_reason == "every environment of the target is in the training"
    for number in range(len(state.history)):
        with pytest.raises(Stopped):
            symmetric(nft, tmp_path / "parts", progress=Recorder(iteration=number))
    symmetric(nft, tmp_path / "parts")
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_one_label_is_as_good_as_one_of_each_that_are_alike(tmp_path: Path) -> None:
    """Without all environments learned the error would be that of cells: 0.1 eV/Å and more."""
    state = symmetric(copper.whole(steps_not_improved=9, **SOME), tmp_path)
    errors = np.linalg.norm(state.history[-1].forces - copper.emt(ICOSAHEDRON)[1], axis=1)
    kinds: list[Array] = [errors[LIKE[kind]] for kind in FIRST]
    for of_kind in kinds:
        assert of_kind == pytest.approx(np.full(len(of_kind), of_kind[0]), abs=1e-6)
    assert errors.mean() < 0.02


def test_a_training_with_equal_chunks_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions before this comparison left it."""
    nft = copper.nft(steps_not_improved=9, **SOME | {"first_chunks": 5, "max_chunks": 6})
    with monkeypatch.context() as before:
        before.setattr(Alike, "stand_ins", lambda self, ranked, known: iter(ranked))
        first = symmetric(nft, tmp_path)
    assert len({KINDS[i] for i in first.chunk_images}) < len(first.chunk_images) == 6
    more = copper.nft(steps_not_improved=9, **SOME | {"first_chunks": 5, "max_chunks": 20})
    state = symmetric(more, tmp_path)
    assert list(state.chunk_images)[:6] == list(first.chunk_images)
    assert len(state.chunk_images) < 10
    assert {KINDS[i] for i in state.chunk_images} == set(FIRST)
    assert state.stop_reason == "every environment of the target is in the training"


def test_nothing_like_a_failed_chunk_takes_its_place(tmp_path: Path) -> None:
    script = Script(tmp_path / "script.json")
    bad = extract_chunks(ICOSAHEDRON, LIKE[FIRST[1]], 6.0)
    script.write({digest(chunk): "raise" for chunk in bad})
    parent = Parent(FAULTY, {"script": str(script.path)}, tmp_path / "parent.db")
    state = symmetric(copper.nft(**SOME | {"first_chunks": 4}), tmp_path, parent=parent)
    assert sorted(KINDS[i] for i in state.chunk_images) == [FIRST[0], *FIRST[2:]]
    assert [KINDS[i] for i in state.history[-1].failed_indices] == [FIRST[1]]
    assert state.stop_reason == (
        "every environment of the target is in the training or was given up"
    )
