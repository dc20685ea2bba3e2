"""Training on geometries of whole targets (``nft.labels = "target"``), EMT as the parent."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.constraints import FixAtoms
from ase.io import read

from helpers import copper
from helpers.faulty import FAULTY, digest
from helpers.recorder import Recorder, Stopped
from helpers.trainings import assert_same, contents, train
from nearsight.config import NFTSettings, RelaxationSettings, RetrainingSettings
from nearsight.errors import InputError, ParentError
from nearsight.executors.local import LocalExecutor
from nearsight.learning.exploration import Geometry, displaced, rank_geometries
from nearsight.learning.learner import Learner
from nearsight.learning.nft import NFT
from nearsight.learning.paths import Relaxations
from nearsight.learning.retraining import Retraining
from nearsight.learning.state import State
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import G2, SymmetryFunctions
from nearsight.parents import Parent
from nearsight.progress import Progress
from nearsight.structures.images import read_images


def run(folder: Path, nft: NFT | None = None, parent: Parent | None = None, **more: Any) -> State:
    return train(nft or copper.by_target(), folder, parent, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """A folder with a whole training in it, and how it ended. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


def kept(folder: Path) -> dict[int, Atoms]:
    """The frames that iterations have kept, by their numbers."""
    paths = sorted(folder.glob("iteration-*/frames.traj"))
    return {a.info["geometry"]: a for path in paths for a in read(path, ":")}


# -- what it does


def test_the_target_comes_first_then_frames(finished: tuple[Path, State]) -> None:
    folder, state = finished
    history = state.history
    assert [each.chunks for each in history] == [0, 2, 3, 4]
    assert history[0].new_indices == [0, 1]
    assert history[-1].stop_reason == "there are 4 geometries"
    for earlier, later in itertools.pairwise(history):
        assert later.chunk_indices == earlier.chunk_indices + earlier.new_indices
        assert later.exploration is not None
        assert later.new_indices == later.exploration.numbers[: len(later.new_indices)]
    known = {0: copper.particle(), **kept(folder)}
    for number, image in zip(history[-1].chunk_indices, state.images[11:], strict=True):
        np.testing.assert_array_equal(image.atoms.positions, known[number].positions)


def test_all_forces_and_the_energy_are_learned(finished: tuple[Path, State]) -> None:
    folder, state = finished
    paths = sorted(folder.glob("iteration-*/geometries.extxyz"))
    written = [image for path in paths for image in read_images(path)]
    assert len(written) == 4
    for image, other in zip(state.images[11:], written, strict=True):
        energy, forces = copper.emt(image.atoms)
        assert image.energy == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(image.forces, forces, atol=1e-9)
        np.testing.assert_allclose(other.forces, forces, atol=1e-6)
    assert len(state.data.forces) == sum(len(image.atoms) for image in state.images)
    # each counts by itself, as those of a chunk, not by the mean of its structure
    counts = np.ones(len(state.images), dtype=np.int64)
    weights = state.data.weights(counts, 0.3)[1]
    np.testing.assert_allclose(weights[state.data.rows(11)], 0.1)


def test_the_scaling_covers_the_first_geometries(finished: tuple[Path, State]) -> None:
    """Those of cells and the target as given are far exceeded by displaced atoms."""
    data = finished[1].data
    for image in finished[1].images[11:13]:
        features = data.functions.compute(image.atoms)["Cu"]
        assert (features >= data.scaling.minimum["Cu"] - 1e-12).all()
        assert (features <= data.scaling.maximum["Cu"] + 1e-12).all()


def test_every_member_knows_every_geometry(finished: tuple[Path, State]) -> None:
    counts = finished[1].multiplicities
    assert (counts[:, 11:] >= 1).all()
    assert (counts[:, 11:] > 1).any()
    assert (counts[:, :11] == 0).any()  # of the cells it is a bootstrap as always


def test_the_uncertainty_is_calibrated_where_nobody_was_trained(
    finished: tuple[Path, State],
) -> None:
    """By the definition of the factor: of n ratios of error and raw uncertainty that of rank
    ⌈0.99 (n + 1)⌉, of 110 the largest."""
    state = finished[1]
    assert len(state.validation) == 2
    seen = {digest(image.atoms) for image in state.images}
    errors, ratios = [], []
    for image in state.validation:
        assert digest(image.atoms) not in seen
        found = state.ensemble.evaluate(image.atoms)
        error = np.linalg.norm(found.forces - copper.emt(image.atoms)[1], axis=1)
        errors.append(error)
        ratios.append(error / found.uncertainty_raw)
    last = state.history[-1]
    assert last.validation_error == pytest.approx(np.concatenate(errors).mean(), rel=1e-9)
    assert last.calibration == pytest.approx(np.concatenate(ratios).max(), rel=1e-9)


def test_what_the_database_says_of_them(finished: tuple[Path, State]) -> None:
    rows = list(ase.db.connect(finished[0] / "parent.db").select())
    assert sorted((row.role, row.stage) for row in rows) == [
        *[("whole", "nft")] * 4,
        *[("whole", "validation")] * 2,
    ]


def test_frames_are_told_from_what_is_known(finished: tuple[Path, State]) -> None:
    """None is within 0.02 Å of another, or of the validation geometries."""
    folder, state = finished
    others = [copper.particle(), *(image.atoms for image in state.validation)]
    for atoms in [*others, *kept(folder).values()]:
        assert (atoms.numbers == 29).all()
    asked = [image.atoms for image in state.images[11:]] + others[1:]
    for one, two in itertools.combinations(asked, 2):
        moved = np.sqrt(((one.positions - two.positions) ** 2).sum(axis=1).mean())
        assert moved > 0.02


def test_it_becomes_better_than_the_cells_alone(finished: tuple[Path, State]) -> None:
    """On a rattle of another seed, which no member has seen."""
    other = copper.particle(seed=5)
    true = copper.emt(other)[1]
    folder, state = finished
    first = Ensemble.load(folder / "iteration-000" / "ensemble.json")
    errors = [np.abs(each.evaluate(other).forces - true).mean() for each in (first, state.ensemble)]
    assert errors[1] < 0.5 * errors[0]


def test_it_ends_at_the_accuracy_of_all_it_meets(
    finished: tuple[Path, State], tmp_path: Path
) -> None:
    """Not at that on the target as given, which it was trained on."""
    last = finished[1].history[-2]
    bound = last.structure_uncertainty_calibrated
    assert bound > last.uncertainty.max()
    limits = (1.001 * float(last.uncertainty.max()), 1.001 * bound)
    for number, accuracy in enumerate(limits):
        nft = replace(copper.by_target(), settings=NFTSettings(labels="target", accuracy=accuracy))
        state = run(tmp_path / str(number), nft)
        assert len(state.history) == (4, 3)[number]
    assert state.stop_reason == f"the calibrated uncertainty is at most {limits[1]:g} eV/Å"


# -- stopped and continued


class Fuse(Progress):
    """Ends the work at its n-th event of any kind."""

    def __init__(self, events: int) -> None:
        self.left = events

    def _burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stopped

    def advance(self, done: int, total: int | None = None, what: str = "") -> None:
        self._burn()

    def iteration(self, record: Mapping[str, Any]) -> None:
        self._burn()

    def note(self, text: str) -> None:
        self._burn()


def test_stopped_again_and_again(finished: tuple[Path, State], tmp_path: Path) -> None:
    """A little later each time: the same bits, and no calculation twice."""
    calculations = 0
    for events in itertools.count(1):
        parent = Parent("emt", database=tmp_path / "parent.db")
        try:
            state = run(tmp_path, parent=parent, progress=Fuse(events))
        except Stopped:
            calculations += parent.calculations
            continue
        calculations += parent.calculations
        break
    assert events > 10
    assert calculations == Parent("emt", database=tmp_path / "parent.db").known == 6
    assert_same(tmp_path, finished[0])
    for one, two in zip(state.weights, finished[1].weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("file", ["iteration-002/frames.traj", "iteration-001/validation.traj"])
@pytest.mark.parametrize("damage", ["torn", "gone"])
def test_damaged_frames_are_made_again(
    finished: tuple[Path, State], tmp_path: Path, file: str, damage: str
) -> None:
    place = tmp_path / "copy"
    shutil.copytree(finished[0], place)
    content = (place / file).read_bytes()
    if damage == "torn":
        (place / file).write_bytes(content[: len(content) // 2])
    else:
        (place / file).unlink()
    progress = Recorder()
    run(place, progress=progress)
    assert any("repeating iteration" in note for note in progress.notes)
    assert_same(place, finished[0])


def test_members_trained_by_an_engine_are_the_same(
    finished: tuple[Path, State], tmp_path: Path
) -> None:
    with LocalExecutor(2, threads=1) as executor:
        run(tmp_path, executor=executor)
    assert_same(tmp_path, finished[0])


PROGRAM = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_nft_target import run
run(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_threads_change_nothing(finished: tuple[Path, State], tmp_path: Path) -> None:
    for threads in ("1", "3"):
        place = tmp_path / threads
        subprocess.run(
            [sys.executable, "-c", PROGRAM, place, *sys.path],
            env=os.environ | {"OMP_NUM_THREADS": threads},
            check=True,
        )
        assert_same(place, finished[0])


def test_more_geometries_continue_in_place(finished: tuple[Path, State], tmp_path: Path) -> None:
    run(tmp_path, copper.by_target(max_geometries=3))
    run(tmp_path)
    found, expected = contents(tmp_path), contents(finished[0])
    assert list(found) == list(expected)
    for name, content in expected.items():
        if name.endswith("evaluation.json"):
            digests = dict.fromkeys(("ensemble", "previous"))  # of the settings too
            assert {**found[name], **digests} == {**content, **digests}, name


@pytest.mark.parametrize(
    "changed",
    [
        copper.by_target(temperature=400.0),
        copper.by_target(steps=30),
        replace(copper.by_target(), settings=NFTSettings(labels="chunk")),
    ],
    ids=["temperature", "steps", "labels"],
)
def test_a_folder_of_other_settings_is_refused(
    finished: tuple[Path, State], tmp_path: Path, changed: NFT
) -> None:
    shutil.copytree(finished[0], tmp_path / "copy")
    with pytest.raises(InputError, match="belongs to other settings or inputs"):
        run(tmp_path / "copy", changed)


# -- a parent that fails


def test_another_frame_takes_the_place_of_one_that_fails(
    finished: tuple[Path, State], tmp_path: Path
) -> None:
    history = finished[1].history
    lost = history[1].new_indices[0]
    faults = {digest(kept(finished[0])[lost]): "raise"}
    progress = Recorder()
    parent = Parent(
        FAULTY,
        {"faults": faults},
        database=tmp_path / "parent.db",
        failures=tmp_path / "failures.json",
    )
    state = run(tmp_path, parent=parent, progress=progress)
    assert history[1].exploration is not None
    assert state.history[2].failed_indices == [lost]
    assert state.history[2].chunk_indices == [0, 1, history[1].exploration.numbers[1]]
    assert any(f"skipping geometry {lost}" in note for note in progress.notes)
    again = run(tmp_path, parent=parent)
    assert again.history[-1].chunk_indices == state.history[-1].chunk_indices


def test_copies_are_left_where_the_target_as_given_fails(tmp_path: Path) -> None:
    faults = {digest(copper.particle()): "raise"}
    progress = Recorder()
    parent = Parent(FAULTY, {"faults": faults})
    state = run(tmp_path, copper.by_target(max_geometries=2), parent, progress=progress)
    assert state.history[1].chunk_indices == [1]
    assert state.history[1].failed_indices == [0]
    assert any("skipping the target as given" in note for note in progress.notes)


def test_a_parent_that_fails_on_all_ends_it(tmp_path: Path) -> None:
    parent = Parent(FAULTY, {"faults": {"55": "raise"}})
    with pytest.raises(ParentError, match="failed on all 2 geometries asked for"):
        run(tmp_path, parent=parent)


def test_paths_that_break_off_give_nothing_to_validate_with(tmp_path: Path) -> None:
    """At a temperature at which all flies apart; frames up to there are learned all the same."""
    progress = Recorder()
    nft = copper.by_target(temperature=1e6, max_geometries=3)
    state = run(tmp_path, nft, progress=progress)
    assert any("break off too early" in note for note in progress.notes)
    assert state.validation == ()
    assert [each.chunks for each in state.history] == [0, 2, 3]
    for each in state.history[1:]:
        assert each.exploration is not None
        assert each.exploration.broken >= 1
        assert each.validation_error is None
        assert each.calibration == 1.0
        assert each.structure_uncertainty >= 2.0  # so that no accuracy is met
    assert not list(tmp_path.glob("iteration-*/validation.traj"))


def test_a_validation_geometry_that_fails_is_left_out(
    finished: tuple[Path, State], tmp_path: Path
) -> None:
    lost = digest(finished[1].validation[0].atoms)
    progress = Recorder()
    parent = Parent(FAULTY, {"faults": {lost: "raise"}})
    state = run(tmp_path, copper.by_target(max_geometries=2), parent, progress=progress)
    (image,) = state.validation
    assert digest(image.atoms) == digest(finished[1].validation[1].atoms)
    assert any("skipping a validation geometry" in note for note in progress.notes)


# -- other targets


def test_two_targets(tmp_path: Path) -> None:
    targets = [copper.particle(), copper.particle(seed=3)[:40]]
    nft = copper.by_target(first=3, max_geometries=5)
    state = run(tmp_path, nft, target=targets)
    assert state.history[1].chunk_indices == [0, 1, 2]
    sizes = [len(image.atoms) for image in state.images[11:]]
    assert sizes[:3] == [55, 40, 55]
    assert sorted(len(image.atoms) for image in state.validation) == [40, 55]
    assert len(state.history[-1].forces) == 95


def test_an_alloy(tmp_path: Path) -> None:
    target = copper.particle()
    target.symbols[::3] = "Au"
    cells = []
    for seed in range(8):
        atoms = bulk("Cu", a=3.7 + 0.03 * seed, cubic=True).repeat((2, 1, 1))
        atoms.symbols[:: 1 + seed % 3] = "Au"
        atoms.rattle(0.08, seed=seed)
        cells.append(copper.labelled(atoms))
    pairs = {
        e: [G2(other, eta) for other in ("Cu", "Au") for eta in (0.5, 4.0)] for e in ("Cu", "Au")
    }
    state = run(tmp_path, images=cells, functions=SymmetryFunctions(pairs, 5.0), target=target)
    image = state.images[-1]
    assert image.atoms.get_chemical_formula() == "Au19Cu36"
    np.testing.assert_allclose(image.forces, copper.emt(image.atoms)[1], atol=1e-9)


def test_fixed_atoms_of_a_slab_stay_and_their_forces_are_learned(tmp_path: Path) -> None:
    slab = fcc111("Cu", (3, 3, 4), a=3.65, vacuum=6.0, periodic=True)
    slab.rattle(0.06, seed=2)
    fixed = slab.get_tags() > 2
    slab.set_constraint(FixAtoms(mask=fixed))
    state = run(tmp_path, target=slab)
    assert len(state.images) == 11 + 4
    for image in (*state.images[11:], *state.validation):
        assert image.atoms.pbc.all()
        np.testing.assert_array_equal(image.atoms.positions[fixed], slab.positions[fixed])
        energy, forces = copper.emt(image.atoms)
        assert np.abs(forces[fixed]).max() > 0.1
        np.testing.assert_allclose(image.forces, forces, atol=1e-9)
        assert image.energy == pytest.approx(energy, abs=1e-9)
    moved = [np.abs(a.positions - slab.positions).max() for a in kept(tmp_path).values()]
    assert min(moved) > 0.02


# -- retraining


def test_retraining_labels_frames(finished: tuple[Path, State], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    folder, nft = tmp_path / "run", copper.by_target()
    parent = Parent("emt", database=folder / "parent.db")
    targets = Targets.of(copper.particle())
    state = run(folder, nft, parent)
    settings = RetrainingSettings(threshold=0.01, window=1000.0, max_rounds=1, chunks=5)
    learner = Learner.from_training(nft, state, folder, targets, parent, settings)
    paths = Relaxations([copper.particle()], RelaxationSettings(max_steps=5))
    result = Retraining(paths).run(learner, tmp_path / "re")
    assert parent.calculations == 1
    (image,) = read_images(tmp_path / "re" / "retraining-01" / "geometries.extxyz")
    assert len(image.atoms) == 55
    assert len(result.learner.images) == 16
    again = Parent("emt", database=folder / "parent.db")
    same = Retraining(paths).run(replace(learner, parent=again), tmp_path / "re")
    assert again.calculations == 0
    assert same.record.model_dump_json() == result.record.model_dump_json()


# -- the choice of frames


def moved(distance: float, atom: int = 0) -> Atoms:
    """The particle with one atom moved so far that the root mean square over all is that."""
    atoms = copper.particle()
    atoms.positions[atom, 0] += distance * np.sqrt(len(atoms))
    return atoms


def test_uncertain_and_unlike_frames_are_wanted() -> None:
    known = [copper.particle()]
    found = [
        Geometry(moved(0.1), 0, raw=0.2),  # 0.02
        Geometry(moved(0.01), 0, raw=9.0),  # known
        Geometry(moved(0.3), 0, raw=0.1),  # 0.03
        Geometry(moved(0.3, atom=1), 0, raw=0.05),  # 0.015, and unlike the others
        Geometry(moved(0.31), 0, raw=0.1),  # 0.031, and then like the third
    ]
    assert rank_geometries(found, known, 5, relaxed_first=False) == [4, 0, 3]
    assert rank_geometries(found, known, 1, relaxed_first=False) == [4]
    ended = [*found, Geometry(moved(0.05), 0, raw=0.01, relaxed=True)]
    assert rank_geometries(ended, known, 2, relaxed_first=True) == [5, 4]
    assert rank_geometries(ended, known, 2, relaxed_first=False) == [4, 0]
    assert rank_geometries([], known, 2, relaxed_first=True) == []


def test_half_of_an_iteration_are_copies_displaced_from_the_minimum(tmp_path: Path) -> None:
    state = run(tmp_path, copper.by_target(per_iteration=2, temperature=1.0))
    assert [each.chunks for each in state.history] == [0, 2, 4]
    frames = kept(tmp_path)
    relaxed, copy = (frames[number] for number in state.history[-1].chunk_indices[2:])
    moves = np.linalg.norm(copy.positions - relaxed.positions, axis=1)
    assert np.sqrt((moves**2).mean()) == pytest.approx(0.25 * 0.1 * 2 * 1.32, rel=0.2)


@pytest.mark.parametrize(("copy", "part"), [(0, 0.5), (1, 0.25), (2, 0.5)])
def test_copies_are_displaced_by_parts_of_what_melts(copy: int, part: float) -> None:
    """Of Lindemann's tenth of the distance between neighbours, twice the covalent radius."""
    target = bulk("Cu", cubic=True).repeat(6)
    target.set_constraint(FixAtoms([0, 5]))
    moved = displaced(target, 3, copy)
    moves = np.linalg.norm(moved.positions - target.positions, axis=1)
    assert (moves[[0, 5]] == 0).all()
    assert np.sqrt((moves**2).mean()) == pytest.approx(part * 0.1 * 2 * 1.32, rel=0.03)
    assert digest(displaced(target, 3, copy)) == digest(moved)
    assert digest(displaced(target, 4, copy)) != digest(moved)
