"""What the report shows of atoms and chunks, by hand; figures as parts of the page."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.neighborlist import neighbor_list

from helpers.report import (
    ATOMS,
    CALIBRATED,
    DIFFERENCE,
    RAW,
    REFERENCE,
    RELAXATION,
    RUN,
    TRUE,
    add_structures,
    but,
    iteration,
    save,
    three,
)
from nearsight.errors import InputError
from nearsight.files.names import iteration_folder
from nearsight.files.records import Cost, Exploration
from nearsight.files.trajectory import read_frames, write_frames
from nearsight.report import figures
from nearsight.report.atoms import BOND, coordination, parts_by_coordination, parts_by_element
from nearsight.report.data import RunData
from nearsight.report.page import write_report
from nearsight.report.svg import MOST_POINTS, svg
from nearsight.report.view import view_data
from nearsight.structures.images import write_structures


@pytest.mark.parametrize(
    ("atoms", "expected"),
    [
        (bulk("Cu", cubic=True).repeat(3), {12}),
        (bulk("Fe", cubic=True).repeat(3), {14}),  # both shells, 15 % apart
        (bulk("MgO", "rocksalt", a=4.2), {6}),
        (fcc111("Pt", (3, 3, 4), vacuum=8), {9, 12}),
        (ATOMS, {1, 2, 3}),
        (Atoms("Pt", [[0, 0, 0]]), {0}),
    ],
)
def test_neighbours(atoms: Atoms, expected: set[int]) -> None:
    assert set(coordination(atoms).tolist()) == expected


def test_neighbours_of_a_rattled_crystal() -> None:
    atoms = bulk("Al", cubic=True).repeat(5)
    atoms.rattle(0.1, seed=1)
    found = coordination(atoms)
    assert (found == 12).mean() > 0.97  # its shells are 2.86 and 4.05 Å away


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), False])
def test_neighbours_of_many_atoms(pbc: Any) -> None:
    """The bonds of ASE's list, in a tenth of its memory: 100,000 atoms took 2.8 GB."""
    atoms = bulk("Pt", cubic=True).repeat(8)
    atoms.rattle(0.1, seed=2)
    atoms.pbc = pbc
    tracemalloc.start()
    found = coordination(atoms)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    first, distances = neighbor_list("id", atoms, 4.3)
    nearest = np.median([distances[first == number].min() for number in range(len(atoms))])
    assert found.tolist() == np.bincount(first[distances <= BOND * nearest]).tolist()
    assert memory < 3000 * len(atoms)


def test_parts(full: Path) -> None:
    best = RunData.load(full).best
    copper, platinum = parts_by_element(best, list(ATOMS.symbols))
    assert (copper.name, copper.atoms, copper.trained) == ("Cu", 1, 1)
    assert copper.mean_error == copper.largest_error == pytest.approx(0.005)
    assert (platinum.atoms, platinum.trained) == (3, 1)
    assert platinum.force == pytest.approx((2 + 3 + np.hypot(0.5, 0.5)) / 3)
    assert platinum.mean_error == pytest.approx(0.011 / 3)
    assert platinum.largest_error == pytest.approx(0.010)
    assert platinum.mean_uncertainty == pytest.approx(1.5 * 0.011 / 3)
    assert platinum.largest_uncertainty == pytest.approx(0.012)
    parts = parts_by_coordination(best, np.array([2, 9, 12, 15]))
    assert [part.name for part in parts] == ["≤ 4", "9", "12", "≥ 13"]
    without = RunData.load(full).iterations[0]
    assert parts_by_element(but_forces(without), ["Pt"] * 4)[0].mean_error is None


def but_forces(data: Any) -> Any:
    return type(data)(data.record, None, data.atoms, data.sizes)


def test_chunks(tmp_path: Path) -> None:
    cost = Cost(chunks=0.5, validation=0.0, initial=0.1, exponent=2.0)
    folder = three(tmp_path / "run", run=but(RUN, cost=cost), reference=REFERENCE)
    add_structures(folder)
    first, second, third = RunData.load(folder).chunks
    assert [each.number for each in (first, second, third)] == [0, 3, 1]
    assert [each.iteration for each in (first, second, third)] == [1, 1, 2]
    assert (first.element, first.coordination, first.size) == ("Cu", 2, 3)
    assert (second.element, second.coordination, second.size) == ("Pt", 1, 2)
    assert first.cost == pytest.approx(9 / 16)
    assert first.chosen_uncertainty == pytest.approx(100 * RAW[0])
    assert third.chosen_uncertainty == pytest.approx(RAW[1])
    assert second.force == pytest.approx(np.hypot(0.5, 0.5))
    assert second.uncertainty == pytest.approx(CALIBRATED[3])
    assert second.error == pytest.approx(0.010)


def test_without_true_forces_the_label_stands_for_them(tmp_path: Path) -> None:
    folder = three(tmp_path / "run")
    add_structures(folder)
    chunk = RunData.load(folder).chunks[1]
    # labels of `add_structures` are the true forces
    assert chunk.error == pytest.approx(np.linalg.norm(DIFFERENCE[3]))
    assert chunk.cost is None
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "from the chunk’s label" in page
    assert "cost, %" not in page


def test_view(full: Path) -> None:
    found = view_data(RunData.load(full))
    assert found is not None
    (target,) = found["targets"]
    assert target["elements"] == [0, 1, 1, 1]
    assert [each["symbol"] for each in found["elements"]] == ["Cu", "Pt"]
    np.testing.assert_array_equal(
        np.reshape(target["positions"], (4, 3)), np.rint(100 * ATOMS.positions)
    )
    assert target["coordination"] == [2, 2, 3, 1]
    assert found["kept"] == 1
    kept = found["iterations"][1]
    assert kept["uncertainty"] == [6000, 3000, 1500, 12000]
    assert kept["error"] == [5000, 1000, 0, 10000]
    assert kept["chunks"] == [0, 3]
    assert found["force"] == [1000000, 2000000, 3000000, 707000]
    relaxation = target["relaxation"]
    assert relaxation["energies"] == [0.0, -2.0, -2.75]
    assert relaxation["positions"][2][11] == 280  # 2.6 and two steps of 0.1 Å
    assert relaxation["uncertainty"][2] == [18000, 9000, 4500, 36000]
    text = (full / "report.html").read_text()
    (written,) = re.findall(r'id="data">(.*?)</script>', text)
    assert json.loads(written) == json.loads(json.dumps(found))


def test_a_trajectory_without_every_step(tmp_path: Path) -> None:
    folder = three(tmp_path / "run", relaxation=but(RELAXATION, write_every=2))
    add_structures(folder)
    frames = list(read_frames(folder / "relaxation.traj"))
    write_frames(folder / "relaxation.traj", [frames[0], frames[2]])
    found = view_data(RunData.load(folder))
    assert found is not None
    relaxation = found["targets"][0]["relaxation"]
    assert relaxation["steps"] == [0, 2]
    assert relaxation["energies"] == [0.0, -2.75]
    assert relaxation["positions"][1][11] == 280


def test_names_in_the_data_end_no_script(tmp_path: Path) -> None:
    """Names that come from files stay within the data."""
    folder = save(tmp_path / "run<script><b>", iteration(0, []))
    write_structures(folder / "target.extxyz", [ATOMS])
    text = write_report(folder).read_text()
    assert text.count("</script>") == 2
    assert "<b>" not in text.replace("<b>Next:</b>", "").split('<h2 id="next">')[1]


def test_other_structures(tmp_path: Path) -> None:
    folder = save(tmp_path / "run", iteration(0, []))
    write_structures(folder / "target.extxyz", [ATOMS[:3]])
    with pytest.raises(InputError, match=r"target\.extxyz: holds other structures"):
        RunData.load(folder)


def test_damaged_chunks(tmp_path: Path) -> None:
    folder = three(tmp_path / "run")
    add_structures(folder)
    path = iteration_folder(folder, 1) / "chunks.extxyz"
    path.write_text(path.read_text()[:200])
    with pytest.raises(InputError, match=re.escape(str(path))):
        RunData.load(folder)


def test_another_trajectory(tmp_path: Path) -> None:
    folder = three(tmp_path / "run", relaxation=RELAXATION)
    add_structures(folder)
    write_frames(folder / "relaxation.traj", [ATOMS, ATOMS])
    with pytest.raises(InputError, match=r"relaxation\.traj: does not fit relaxation\.json"):
        write_report(folder)


# --- figures -----------------------------------------------------------------------------------


def points(text: str) -> list[dict[str, str]]:
    return [
        each.attrib for each in ElementTree.fromstring(text).iter() if "data-points" in each.attrib
    ]


def test_points_tell_their_numbers() -> None:
    trained = np.array([True, False, False, True])
    text = svg(figures.parity_figure(TRUE + DIFFERENCE, TRUE, trained), "parity", "Forces")
    seen, unseen, *errors = points(text)
    assert seen["data-label"] == "2 atoms in the training: MAE 7.5 meV/Å"
    assert seen["data-x"] == "|F|, parent (eV/Å)"
    assert seen["data-y"] == "|F|, ensemble (eV/Å)"
    assert seen["data-atoms"] == "0 3"
    assert unseen["data-atoms"] == "1 2"
    assert unseen["data-points"] == "2 2 3 3"
    assert errors[0]["data-points"] == "1 5 0.7071 10"
    root = ElementTree.fromstring(text)
    for group in root.iter("g"):
        if "data-points" in group.attrib:
            drawn = len(list(group.iter("use")))
            assert len(group.attrib["data-points"].split()) == 2 * drawn


def test_points_that_are_not_drawn_are_not_told() -> None:
    figure = figures.learning_figure(
        np.array([0, 4]), np.array([9.0, 0.1]), np.array([2.0, 0.0]), [None, 0.003], [0.5, None]
    )
    told = {each["data-label"]: each["data-points"] for each in points(svg(figure, "a", "b"))}
    assert told["mean error, in the training"] == "4 3"
    assert told["largest error"] == "0 2000 4 0"


def test_colours_and_ids_are_those_of_the_page() -> None:
    figure = figures.relaxation_energy_figure(np.arange(3.0), np.arange(4.0))
    text = svg(figure, "energy", 'A "title" <b>')
    assert "var(--ink)" in text
    assert not re.search(r"#[0-9a-f]{6}|DejaVu", text)
    assert all(name.startswith("energy-") for name in re.findall(r' id="([^"]+)"', text))
    assert ElementTree.fromstring(text).attrib["aria-label"] == 'A "title" <b>'
    again = figures.relaxation_energy_figure(np.arange(3.0), np.arange(4.0))
    assert text == svg(again, "energy", 'A "title" <b>')
    assert text == svg(again, "energy", 'A "title" <b>')  # it is as it was


def test_many_points_become_a_picture() -> None:
    forces = np.random.default_rng(0).normal(size=(MOST_POINTS, 3))
    figure = figures.parity_figure(forces, forces, np.zeros(MOST_POINTS, dtype=bool))
    text = svg(figure, "parity", "Forces")
    assert "data-points" not in text
    assert "data:image/png" in text
    assert len(text) < 200_000


def test_geometries_of_the_whole_target_have_no_chunks(tmp_path: Path) -> None:
    explored = Exploration(frames=3, broken=0, largest_uncertainty=0.01, numbers=[1])
    steps = [iteration(n, list(range(n)), exploration=explored) for n in (0, 1)]
    folder = save(tmp_path / "run", *steps, run=but(RUN, best_iteration=1), reference=REFERENCE)
    write_structures(folder / "target.extxyz", [ATOMS])
    found = view_data(RunData.load(folder))
    assert found is not None
    assert found["chunked"] is False
    assert [each["name"] for each in found["iterations"]] == [
        "iteration 0, 0 geometries",
        "iteration 1, 1 geometries",
    ]
    assert [each["chunks"] for each in found["iterations"]] == [[], []]
    write_report(folder)
