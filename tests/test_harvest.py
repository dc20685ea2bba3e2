"""Which atoms of a trajectory are chosen: the window, the shares, the files.

Uncertainties are made up here, so that what must come out is known.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms

from helpers import Array
from helpers.structures import functions_of, random_ensemble, structure
from nearsight.errors import InputError
from nearsight.learning.harvest import Harvest, harvest, load_harvest, save_harvest
from nearsight.model.ensemble import Ensemble

N = len(structure("particle"))


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Two elements; its features are what matters here."""
    functions = functions_of(("Pt", "Au"))
    return random_ensemble(functions, structure("particle", 2))


def frames(count: int, n_elements: int = 1) -> list[Atoms]:
    """Particles, each rattled in its own way."""
    found = []
    for seed in range(count):
        atoms = structure("particle", n_elements)
        atoms.rattle(0.2, seed=seed)
        found.append(atoms)
    return found


def raw(**atoms: float) -> Array:
    """Uncertainties of 0.01 but for the atoms named (``a3 = 0.5``)."""
    values = np.full(N, 0.01)
    for name, value in atoms.items():
        values[int(name[1:])] = value
    return values


# -- the window


def test_atoms_without_neighbours_are_no_candidates(ensemble: Ensemble) -> None:
    atoms = frames(1)[0]
    atoms.positions[3] += 50.0
    found = harvest(ensemble, [atoms], [raw(a3=0.2, a5=0.2)], 0.1, None, 10)
    assert found.chosen == [(0, 5)]
    found = harvest(ensemble, [atoms], [raw(a3=0.2)], 0.1, None, 10)
    assert (found.kept, found.candidates, found.chosen) == (1, 0, [])


def test_frames_and_atoms_between_the_bounds_and_no_others(ensemble: Ensemble) -> None:
    uncertain = [
        raw(a3=0.1, a5=0.12),  # both ends count
        raw(a3=0.15, a7=0.099),  # atom 7 is below
        raw(a3=0.151, a9=0.12),  # the frame is beyond, so atom 9 is not taken either
        raw(a3=0.0999),
    ]
    found = harvest(ensemble, frames(4), uncertain, 0.1, 0.15, 10)
    assert sorted(found.chosen) == [(0, 3), (0, 5), (1, 3)]
    assert (found.frames, found.kept, found.beyond, found.candidates) == (4, 2, 1, 3)
    assert found.deviation == pytest.approx(0.0, abs=1e-12)  # nothing is left out
    assert "2 of 4 frames" in found.summary
    assert "1 lie beyond and are not used" in found.summary


def test_without_an_upper_end_nothing_is_beyond(ensemble: Ensemble) -> None:
    found = harvest(ensemble, frames(1), [raw(a3=70.0, a4=0.2)], 0.1, None, 10)
    assert sorted(found.chosen) == [(0, 3), (0, 4)]
    assert found.beyond == 0


def test_nothing_uncertain(ensemble: Ensemble) -> None:
    found = harvest(ensemble, frames(2), [raw(), raw(a1=9.0)], 0.1, 0.15, 10)
    assert found.chosen == []
    assert found.deviation is None
    assert "0 of 2 frames" in found.summary


def test_frames_that_repeat_each_other_are_not_chosen_from_twice(ensemble: Ensemble) -> None:
    """CUR makes the others orthogonal to what it takes, so no repetition is left to take."""
    twice = frames(1) * 4
    found = harvest(ensemble, twice, [raw(a3=0.1, a8=0.1, a20=0.14)] * 4, 0.1, 0.15, 3)
    assert found.candidates == 12
    assert sorted(atom for _, atom in found.chosen) == [3, 8, 20]


def test_the_deviation_is_what_is_left_out_of_the_features(ensemble: Ensemble) -> None:
    """SI eq. 8, here by projection on the singular vectors of what was chosen."""
    structures = frames(6)
    found = harvest(ensemble, structures, [np.full(N, 0.12)] * 6, 0.1, 0.15, 6)
    assert found.candidates == 6 * N
    features = np.concatenate([ensemble.functions.compute(atoms)["Pt"] for atoms in structures])
    chosen = features[[frame * N + atom for frame, atom in found.chosen]]
    basis = np.linalg.svd(chosen.T, full_matrices=False)[0]
    rest = features.T - basis @ (basis.T @ features.T)
    assert len(chosen) == 6
    expected = np.linalg.norm(rest) / np.linalg.norm(features)
    assert found.deviation == pytest.approx(expected, rel=1e-6)


def test_atoms_with_the_same_features_are_one(ensemble: Ensemble) -> None:
    twice = frames(1) * 3
    found = harvest(ensemble, twice, [raw(a3=0.1)] * 3, 0.1, 0.15, 10)
    assert found.candidates == 3
    assert [atom for _, atom in found.chosen] == [3]


# -- several elements


def test_elements_share_in_proportion_to_their_candidates(ensemble: Ensemble) -> None:
    mixed = frames(3, 2)
    gold = np.flatnonzero(mixed[0].symbols == "Au")
    platinum = np.flatnonzero(mixed[0].symbols == "Pt")
    uncertain = np.full(N, 0.01)
    uncertain[platinum[:9]] = uncertain[gold[:3]] = 0.12
    found = harvest(ensemble, mixed, [uncertain] * 3, 0.1, 0.15, 8)
    symbols = [mixed[frame].symbols[atom] for frame, atom in found.chosen]
    assert (symbols.count("Pt"), symbols.count("Au")) == (6, 2)


def test_no_element_is_forgotten(ensemble: Ensemble) -> None:
    mixed = frames(1, 2)
    gold = np.flatnonzero(mixed[0].symbols == "Au")
    uncertain = np.full(N, 0.12)
    uncertain[gold[1:]] = 0.01
    found = harvest(ensemble, mixed, [uncertain], 0.1, 0.15, 2)
    assert sorted(mixed[0].symbols[atom] for _, atom in found.chosen) == ["Au", "Pt"]


# -- the files


def test_files_hold_it_to_the_last_bit(ensemble: Ensemble, tmp_path: Path) -> None:
    structures = frames(4)
    structures[2].set_constraint(FixAtoms([0, 5]))
    uncertain = [raw(), raw(), raw(a3=0.1, a5=0.12), raw(a8=0.11)]
    found = harvest(ensemble, structures, uncertain, 0.1, 0.15, 10)
    save_harvest(tmp_path / "round", found, structures)
    loaded = load_harvest(tmp_path / "round")
    assert loaded is not None
    again, kept = loaded
    assert len(kept) == 2  # those that were chosen from
    for (frame, atom), (number, same) in zip(found.chosen, again.chosen, strict=True):
        assert atom == same
        assert (kept[number].positions == structures[frame].positions).all()
    assert again.summary == found.summary
    content = json.loads((tmp_path / "round" / "harvest.json").read_text())
    assert content["numbers"] == [2, 3]


FOUND = Harvest(
    low=0.1, high=0.15, frames=1, kept=1, beyond=0, candidates=1, chosen=[(0, 3)], deviation=0.0
)


def test_no_harvest_in_a_folder(tmp_path: Path) -> None:
    assert load_harvest(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"chosen": [[0, 999]]}, "does not fit its frames.traj"),
        ({"chosen": [["a", 1]]}, "incomplete or damaged"),
        ({"version": 2}, "newer nearsight"),
    ],
)
def test_a_damaged_harvest(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    save_harvest(tmp_path, FOUND, frames(1))
    path = tmp_path / "harvest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": None} | change))
    with pytest.raises(InputError, match=sentence):
        load_harvest(tmp_path)


def test_frames_that_are_torn(tmp_path: Path) -> None:
    save_harvest(tmp_path, FOUND, frames(1))
    path = tmp_path / "frames.traj"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=r"frames\.traj: truncated or corrupted trajectory"):
        load_harvest(tmp_path)
