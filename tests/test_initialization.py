"""The initial cells, against those Amp makes, and the starting crystals of all space groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from ase.spacegroup import Spacegroup

from helpers.faulty import FaultyEMT
from helpers.recorder import Recorder
from nearsight.errors import InputError, ParentError
from nearsight.learning.initial_cells import Initialization, label_structures
from nearsight.parents import Parent
from nearsight.structures.crystals import (
    compositions,
    rattled_cells,
    shortest_distance,
    starting_crystal,
    worth_rattling,
)
from nearsight.structures.images import Image, read_images, write_images
from nearsight.structures.labels import PREDICTED_KEY

AMP_CELLS = Path(__file__).parent / "validation" / "data" / "amp_initial33_emt.xyz"
FILE_ROUNDING = 5.1e-9  # the reference set has eight decimals
EMT_ROUNDING = 1e-10  # eV, Å: eight relaxation steps of two versions of ASE

OF_EVERY_SYSTEM = [1, 14, 15, 19, 24, 43, 70, 76, 92, 144, 160, 167, 169, 194, 198, 213, 227, 230]


@pytest.fixture(scope="module")
def cells() -> list[Image]:
    return Initialization(("Pt",)).run("emt")


def assert_same_bits(found: list[Image], expected: list[Image]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.energy == other.energy
        assert one.atoms.info == other.atoms.info
        for a, b in (
            (one.forces, other.forces),
            (one.atoms.positions, other.atoms.positions),
            (np.asarray(one.atoms.cell), np.asarray(other.atoms.cell)),
        ):
            assert a.tobytes() == b.tobytes()


def test_the_33_cells_are_those_of_amp(cells: list[Image]) -> None:
    reference = ase.io.read(AMP_CELLS, ":")
    assert [len(image.atoms) for image in cells] == 4 * [4] + 9 * [2] + 10 * [32] + 10 * [16]
    for image, amp in zip(cells, reference, strict=True):
        assert list(image.atoms.symbols) == list(amp.symbols)
        assert image.atoms.pbc.all()
        np.testing.assert_allclose(image.atoms.cell, amp.cell, rtol=0, atol=EMT_ROUNDING)
        np.testing.assert_allclose(image.atoms.positions, amp.positions, rtol=0, atol=FILE_ROUNDING)
        assert image.energy == pytest.approx(amp.get_potential_energy(), abs=EMT_ROUNDING)
        np.testing.assert_allclose(image.forces, amp.get_forces(), rtol=0, atol=FILE_ROUNDING)


def test_relaxed_cells_are_those_of_the_paper(cells: list[Image]) -> None:
    # from the data behind the paper's Fig. S7
    np.testing.assert_allclose(cells[3].atoms.cell.lengths(), 3.92159615, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        cells[12].atoms.cell.lengths(), [3.22979346, 3.22979346, 2.92052207], rtol=0, atol=1e-8
    )


def test_rattles_tried_are_as_many_as_in_the_paper(cells: list[Image]) -> None:
    # The paper's run kept minsep at 2.65 Å and tried 16 and 1060 seeds for ten cells each.
    for relaxed, tried in ((cells[3], 16), (cells[12], 1060)):
        accepted = rattled_cells(relaxed.atoms, 2.65, 0.03, range(tried))
        seeds = [atoms.info["rattle_seed"] for atoms in accepted]
        assert len(seeds) == 10
        assert seeds[-1] == tried - 1


@pytest.mark.parametrize(
    "seeds",
    [
        range(95, 190),
        [4489, 6050, 12416, 14608],  # an atom moves farther than the quick check allows for
    ],
)
def test_rattles_are_accepted_as_the_neighbour_list_says(
    cells: list[Image], seeds: Sequence[int]
) -> None:
    relaxed, posamp = cells[12].atoms, 0.03
    for minsep in (2.45, 2.55, 2.65):
        accepted = list(rattled_cells(relaxed, minsep, posamp, seeds))
        expected = []
        for seed in seeds:
            atoms = relaxed.repeat(2)
            atoms.rattle(posamp, seed=seed)
            if len(neighbor_list("d", atoms, minsep)) == 0:
                expected.append(atoms)
        assert len(accepted) == len(expected)
        for one, other in zip(accepted, expected, strict=True):
            np.testing.assert_array_equal(one.positions, other.positions)


def test_a_second_run_gives_the_same_bits(cells: list[Image]) -> None:
    assert_same_bits(Initialization(["Pt"]).run(Parent("emt")), cells)


def test_a_run_from_the_database_gives_the_same_bits(cells: list[Image], tmp_path: Path) -> None:
    first = Parent("emt", database=tmp_path / "parent.db")
    assert_same_bits(Initialization(["Pt"]).run(first), cells)
    assert first.calculations == 5 + 11 + 10 + 10  # every step of both relaxations, every rattle
    second = Parent("emt", database=tmp_path / "parent.db")
    assert_same_bits(Initialization(["Pt"]).run(second), cells)
    assert second.calculations == 0


def test_other_seeds_give_other_rattles(cells: list[Image]) -> None:
    others = Initialization(["Pt"], seed=100).run("emt")
    assert_same_bits(others[:13], cells[:13])
    assert [image.atoms.info["rattle_seed"] for image in others[13:23]] == list(range(100, 110))


def test_provenance_survives_the_file(cells: list[Image], tmp_path: Path) -> None:
    write_images(tmp_path / "initial.extxyz", cells)
    for found, image in zip(read_images(tmp_path / "initial.extxyz"), cells, strict=True):
        assert found.atoms.info == image.atoms.info
    assert cells[5].atoms.info == {"space_group": 79, "relaxation_step": 3}
    assert cells[14].atoms.info == {"space_group": 225, "rattle_seed": 1}


def test_labels_are_the_parents(cells: list[Image]) -> None:
    for image in cells:
        atoms = image.atoms.copy()
        atoms.calc = EMT()
        assert image.energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(image.forces, atoms.get_forces())


def test_two_elements_come_alone_and_mixed() -> None:
    cells = Initialization(["Cu", "Au"], n_rattled=1).run("emt")
    relaxed = [c.atoms for c in cells if "relaxation_step" in c.atoms.info]
    in_order = dict.fromkeys((a.info["space_group"], str(a.symbols)) for a in relaxed)
    assert list(in_order) == [
        *((225, formula) for formula in ("Cu4", "Au4", "Cu3Au", "Cu2Au2", "CuAu3")),
        *((79, formula) for formula in ("Cu2", "Au2", "CuAu")),
    ]
    rattled = [str(c.atoms.symbols.formula.format("hill")) for c in cells[len(relaxed) :]]
    assert rattled == [
        *("Cu32", "Au32", "Au8Cu24", "Au16Cu16", "Au24Cu8"),
        *("Cu16", "Au16", "Au8Cu8"),
    ]


def test_rattled_mixtures_are_shuffled() -> None:
    """Same atoms at the same places as in the ordered cell, but not in its order."""
    ordered = next(a for a in compositions(bulk("Cu", a=3.8, cubic=True), ["Cu", "Au"])
                   if str(a.symbols) == "Cu2Au2")  # fmt: skip
    ordered.info = {}
    shuffled = list(rattled_cells(ordered, 2.0, 0.05, range(3)))
    arrangements = [tuple(atoms.symbols) for atoms in shuffled]
    assert len({tuple(ordered.repeat(2).symbols), *arrangements}) == 4
    for atoms in shuffled:
        assert atoms.symbols.count("Cu") == atoms.symbols.count("Au") == 16
        plain = ordered.repeat(2)
        plain.rattle(0.05, seed=atoms.info["rattle_seed"])
        np.testing.assert_array_equal(atoms.positions, plain.positions)


def test_three_elements_are_shuffled_in_equal_parts() -> None:
    """Other arrangements for every seed and crystal; which element has an atom less varies."""
    crystals = [
        atoms
        for atoms in compositions(bulk("Ag", a=4.0, cubic=True), ["Pd", "Ag", "Au"])
        if len(set(atoms.symbols)) == 3
    ]
    cells = [list(rattled_cells(atoms, 2.0, 0.05, range(4))) for atoms in crystals]
    found = [cell for several in cells for cell in several]
    assert len({tuple(cell.symbols) for cell in found}) == len(found) == 12
    for cell in found:
        assert sorted(cell.symbols.formula.count().values()) == [10, 11, 11]
    assert len({cell.symbols.formula.format("hill") for cell in found}) > 1


def test_energies_are_compared_above_those_of_the_atoms() -> None:
    """A code whose energies count from somewhere far away keeps the same rattled cells."""

    class Shifted(EMT):
        """EMT with -1000 eV for every palladium atom and +500 for every gold atom."""

        def calculate(self, *arguments: Any, **more: Any) -> None:
            super().calculate(*arguments, **more)
            shift = 500.0 * self.atoms.symbols.count("Au") - 1000.0 * self.atoms.symbols.count("Pd")
            for name in ("energy", "free_energy"):
                self.results[name] += shift

    # within what these displacements cost: some cells are left out, some are not
    settings = Initialization(
        ["Pd", "Ag", "Au"], space_groups=[225], a0=4.1, minsep=2.1, posamp=0.1, n_rattled=4,
        rattled_window=0.03,
    )  # fmt: skip
    plain, shifted = (settings.run(parent) for parent in ("emt", Shifted()))
    rattled = [i for i in plain if "rattle_seed" in i.atoms.info]
    assert 0 < len(rattled) < 12
    assert len(plain) == len(shifted)
    for one, other in zip(plain, shifted, strict=True):
        assert (
            one.atoms.symbols.get_chemical_formula() == other.atoms.symbols.get_chemical_formula()
        )
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)


def test_compositions_of_three_elements() -> None:
    fcc = bulk("Pt", cubic=True)
    formulas = [str(atoms.symbols) for atoms in compositions(fcc, ["Pt", "Cu", "Au"])]
    assert formulas[:3] == ["Pt4", "Cu4", "Au4"]
    assert len(formulas) == len(set(formulas)) == 15


def test_four_elements_are_mixed_in_every_way() -> None:
    """Unordered choices of four out of four with repetition: 35; of two: 10."""
    elements = ["Pd", "Ag", "Au", "Cu"]
    for crystal, count in ((bulk("Pt", cubic=True), 35), (bulk("Pt").repeat((1, 1, 2)), 10)):
        formulas = [
            str(atoms.symbols.formula.format("hill")) for atoms in compositions(crystal, elements)
        ]
        assert len(formulas) == len(set(formulas)) == count
        assert [len(set(a.symbols)) for a in compositions(crystal, elements)][:4] == [1] * 4


def test_of_three_elements_only_the_richest_mixtures_are_rattled() -> None:
    def worth(*elements: str) -> list[str]:
        crystals = []
        for space_group, crystal in ((225, bulk("Pt", cubic=True)), (79, bulk("Pt") * (1, 1, 2))):
            crystal.info = {"space_group": space_group}
            crystals += compositions(crystal, elements)
        return [atoms.symbols.get_chemical_formula("hill") for atoms in worth_rattling(crystals)]

    assert len(worth("Cu")) == 2
    assert len(worth("Cu", "Au")) == 5 + 3
    assert sorted(worth("Pd", "Ag", "Au")) == sorted(
        ["AgAuPd2", "Ag2AuPd", "AgAu2Pd", "AgPd", "AuPd", "AgAu"]
    )
    assert worth("Pd", "Ag", "Au", "Cu")[0] == "AgAuCuPd"
    assert len(worth("Pd", "Ag", "Au", "Cu")) == 1 + 6


def test_one_atom_is_doubled_to_be_mixed() -> None:
    single = bulk("Pt")
    assert [str(atoms.symbols) for atoms in compositions(single, ["Pt"])] == ["Pt"]
    mixed = list(compositions(single, ["Pt", "Cu"]))
    assert [str(atoms.symbols) for atoms in mixed] == ["Pt2", "Cu2", "PtCu"]


def test_many_sites_are_mixed_in_classes() -> None:
    diamond = bulk("Si", cubic=True)
    formulas = [str(atoms.symbols) for atoms in compositions(diamond, ["Si", "Ge"])]
    assert formulas == ["Si8", "Ge8", "Si6Ge2", "Si4Ge4", "Si2Ge6"]


@pytest.mark.parametrize("space_group", OF_EVERY_SYSTEM)
def test_starting_crystals_have_their_space_group(space_group: int) -> None:
    check_starting_crystal(space_group)


@pytest.mark.slow
def test_all_starting_crystals_have_their_space_group() -> None:
    for space_group in range(1, 231):
        check_starting_crystal(space_group)


def check_starting_crystal(space_group: int) -> None:
    """Every operation of the group keeps the cell's metric and maps the atoms onto themselves."""
    atoms = starting_crystal(space_group, "Pt", a0=4.0, closest=2.65, cell_seed=42)
    metric = np.asarray(atoms.cell) @ np.asarray(atoms.cell).T
    scaled = atoms.get_scaled_positions()
    rotations, translations = (np.asarray(part) for part in Spacegroup(space_group).get_op())
    turned_metric = rotations.transpose(0, 2, 1) @ metric @ rotations
    np.testing.assert_allclose(turned_metric - metric, 0, rtol=0, atol=1e-9)
    moved = scaled @ rotations.transpose(0, 2, 1) + translations[:, None]
    steps = moved[:, :, None] - scaled
    misfit = np.abs(steps - np.rint(steps)).max(axis=3)
    assert ((misfit < 1e-9).sum(axis=2) == 1).all()
    assert 1 <= len(atoms) <= 16
    assert shortest_distance(atoms) > 2.65 - 1e-9
    volume = 4 / 3 * np.pi * (shortest_distance(atoms) / 2) ** 3 * len(atoms)
    assert volume / atoms.get_volume() >= 0.3


def test_well_known_crystals_come_out() -> None:
    def neighbours(space_group: int) -> tuple[int, int]:
        atoms = starting_crystal(space_group, "Pt", 4.0, 2.65, 42)
        near = neighbor_list("i", atoms, 1.01 * shortest_distance(atoms))
        return len(atoms), len(near) // len(atoms)

    assert neighbours(225) == (4, 12)  # face-centred cubic
    assert neighbours(229) == (2, 8)  # body-centred cubic
    assert neighbours(221) == (1, 6)  # simple cubic
    assert neighbours(227) == (8, 4)  # diamond


def test_crowded_cells_are_enlarged() -> None:
    diamond = starting_crystal(227, "Pt", a0=4.0, closest=2.65, cell_seed=42)
    assert shortest_distance(diamond) == pytest.approx(2.65, abs=1e-12)
    np.testing.assert_allclose(diamond.cell.lengths(), 2.65 * 4 / np.sqrt(3), rtol=0, atol=1e-12)
    fcc = starting_crystal(225, "Pt", a0=4.0, closest=2.65, cell_seed=42)
    assert fcc.cell.lengths().tolist() == [4.0, 4.0, 4.0]


def test_a_space_group_that_needs_smaller_distances() -> None:
    # 128 atoms 2.70 Å apart never all stay 2.65 Å apart
    recorder = Recorder()
    cells = Initialization(["Pt"], space_groups=[230], n_rattled=1, max_seeds=50).run(
        "emt", recorder
    )
    assert len(cells[-1].atoms) == 128
    assert 2.16 < shortest_distance(cells[-1].atoms) < 2.65
    assert recorder.notes == [
        (
            "Pt, space group 230: rattled cells may have distances down to 2.163 Å, "
            "since only 0 of 50 had none below 2.650 Å"
        )
    ]


def test_says_what_it_does() -> None:
    recorder = Recorder()
    Initialization(["Pt"]).run("emt", recorder)
    relaxing = [step for step in recorder.steps if step[2].startswith("relaxing")]
    assert [done for done, _, _ in relaxing] == list(range(16))
    assert relaxing[0][2] == "relaxing Pt, space group 225"
    # twice where one has ended and the next begins
    assert list(dict.fromkeys((done, what) for done, _, what in recorder.steps[16:])) == [
        (k, f"rattled cells of Pt, space group {group}") for group in (225, 79) for k in range(11)
    ]
    assert recorder.notes == [
        (
            "the relaxed cells have distances down to 2.621 Å, below minsep = 2.65 Å: "
            "rattled cells may go down to 2.096 Å"
        )
    ]


def test_says_when_a_cell_is_not_relaxed() -> None:
    recorder = Recorder()
    settings = Initialization(["Pt"], space_groups=[225], n_rattled=0, max_steps=1)
    assert len(settings.run("emt", recorder)) == 2
    assert "Pt, space group 225: the cell was not relaxed after 1 steps" in recorder.notes


def test_a_cell_whose_relaxation_failed_is_not_said_to_have_used_its_steps() -> None:
    class AtFirstOnly(EMT):  # type: ignore[misc]
        def calculate(self, atoms: Atoms, *given: Any) -> None:
            if not np.allclose(atoms.cell.lengths(), 4.0):
                raise RuntimeError("SCF did not converge")
            super().calculate(atoms, *given)

    recorder = Recorder()
    settings = Initialization(["Pt"], space_groups=[225], n_rattled=0)
    assert len(settings.run(Parent(AtFirstOnly, {}), recorder)) == 1
    assert any("the relaxation of its cell ends here: " in note for note in recorder.notes)
    assert not any("was not relaxed after" in note for note in recorder.notes)


def test_leaves_out_rattled_cells_too_high_in_energy() -> None:
    # The highest of step I has 0.043 eV/atom (fcc at 4.0 Å); displacements of 0.3 Å cost more.
    recorder = Recorder()
    settings = Initialization(
        ["Pt"], space_groups=[225], posamp=0.3, minsep=1.5, n_rattled=3, rattled_window=0.01
    )
    found = settings.run(Parent("emt", max_force=1000.0), recorder)
    assert len(found) == 4
    assert recorder.notes == [
        (
            "Pt, space group 225: 3 of 3 rattled cells left out, more than 0.01 eV/atom above "
            "the relaxation"
        )
    ]


def test_without_rattles_there_is_step_one_only(cells: list[Image]) -> None:
    assert_same_bits(Initialization(["Pt"], n_rattled=0).run("emt"), cells[:13])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ["Pt", "Xx"]}, "elements[1]: unknown chemical element 'Xx'"),
        ({"elements": ["pt"]}, "elements[0]: unknown chemical element 'pt'; did you mean Pt?"),
        ({"elements": [78]}, "elements[0] must be text in quotes, got 78"),
        ({"elements": "Pt"}, "elements must be a list, got 'Pt'"),
        ({"elements": []}, "elements must not be empty"),
        ({"elements": ["Pt", "Pt"]}, "elements must not name anything twice"),
        ({"space_groups": [0]}, "space_groups[0] must be at least 1, got 0"),
        ({"space_groups": [231]}, "space_groups[0] must be at most 230, got 231"),
        ({"space_groups": ["Fm-3m"]}, "space_groups[0] must be a whole number, got 'Fm-3m'"),
        ({"space_groups": [True]}, "space_groups[0] must be a whole number, got true"),
        ({"space_groups": 225}, "space_groups must be a list, got 225"),
        ({"space_groups": []}, "space_groups must not be empty"),
        ({"a0": 0.0}, "a0 must be at least 0.5, got 0.0"),
        ({"a0": np.nan}, "a0 must be a finite number, got nan"),
        ({"minsep": -1.0}, "minsep must be greater than 0, got -1.0"),
        ({"posamp": 0}, "posamp must be greater than 0, got 0"),
        ({"posamp": np.inf}, "posamp must be a finite number, got inf"),
        ({"n_rattled": -1}, "n_rattled must be at least 0, got -1"),
        ({"n_rattled": 2.5}, "n_rattled must be a whole number, got 2.5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"max_seeds": 0}, "max_seeds must be at least 1, got 0"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Initialization(**({"elements": ["Pt"]} | settings))
    assert message in str(caught.value)


def test_gives_up_when_no_rattled_cell_can_be_accepted() -> None:
    settings = Initialization(["Pt"], space_groups=[225], posamp=0.9, max_seeds=20)
    with pytest.raises(InputError) as caught:
        settings.run("emt")
    assert str(caught.value) == (
        "Pt, space group 225: only 0 of 10 rattled cells had no distance below 2.218 Å "
        "in 20 tries; lower minsep or posamp"
    )


def test_an_element_the_parent_does_not_know() -> None:
    with pytest.raises(ParentError, match=r"emt failed on Fe2 .* No EMT-potential for Fe"):
        Initialization(["Fe"]).run("emt")


def test_a_parent_without_stress() -> None:
    with pytest.raises(ParentError, match="it gives no stress, which relaxing a cell needs"):
        Initialization(["Pt"]).run(Parent(FaultyEMT, {"lacks": ["stress"]}))


# -- structures of the user


def test_structures_without_labels_are_labelled(tmp_path: Path) -> None:
    structures = [bulk("Cu", a=a, cubic=True) for a in (3.5, 3.6, 3.7)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=seed)
    labelled = Image(structures[1], np.full((4, 3), 0.25), -7.0)
    path = tmp_path / "own.extxyz"
    ase.io.write(path, [structures[0], labelled.to_atoms(), structures[2]])
    parent = Parent("emt")
    images = label_structures(path, parent)
    assert parent.calculations == 2
    assert images[1].energy == -7.0
    np.testing.assert_array_equal(images[1].forces, 0.25)
    for image, atoms in zip(images[::2], structures[::2], strict=True):
        atoms.calc = EMT()
        assert image.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(image.forces, atoms.get_forces(), atol=1e-6)


def test_predictions_are_calculated_like_what_has_no_labels(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=5.0, forces=np.ones((4, 3)))
    atoms.info[PREDICTED_KEY] = 5.0
    ase.io.write(tmp_path / "own.extxyz", atoms)
    (image,) = label_structures(tmp_path / "own.extxyz", Parent("emt"))
    atoms.calc = EMT()
    assert image.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


def test_forces_under_an_unknown_name_are_not_calculated_again_without_a_word(
    tmp_path: Path,
) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.arrays["my_forces"] = np.ones((4, 3))
    ase.io.write(tmp_path / "own.extxyz", atoms)
    parent = Parent("emt")
    with pytest.raises(
        InputError, match=r"structure 0: carries no forces; .* \(found: my_forces\)"
    ):
        label_structures(tmp_path / "own.extxyz", parent)
    assert parent.calculations == 0


def test_structures_the_parent_fails_on_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "own.extxyz"
    ase.io.write(path, [bulk("Cu"), bulk("Fe"), bulk("Pt")])
    recorder = Recorder()
    images = label_structures(path, Parent("emt"), recorder)
    assert [str(image.atoms.symbols) for image in images] == ["Cu", "Pt"]
    reason = "(Fe (1 atom): NotImplementedError: No EMT-potential for Fe)"
    assert recorder.notes == [f"skipping structure 1 of {path} after 1 failed attempt {reason}"]
    ase.io.write(path, [bulk("Fe"), bulk("W")])
    with pytest.raises(ParentError) as caught:
        label_structures(path, Parent("emt"), recorder)
    assert str(caught.value) == f"the parent failed on all 2 structures of {path}"


def test_a_structure_with_some_of_its_labels_only(tmp_path: Path) -> None:
    path = tmp_path / "own.extxyz"
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    ase.io.write(path, [bulk("Cu"), atoms])
    with pytest.raises(InputError, match=r"own\.extxyz, structure 1: .*forces"):
        label_structures(path, Parent("emt"))
