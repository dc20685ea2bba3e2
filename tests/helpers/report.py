"""A run of four atoms whose figures are known by hand, its folder, and its page."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from helpers.records import make_iteration
from nearsight.files.names import iteration_folder
from nearsight.files.records import (
    EnsemblePath,
    FeatureSummary,
    ForceLocality,
    InitialCells,
    Iteration,
    Record,
    Reference,
    Relaxation,
    RelaxationPath,
    RunRecord,
    Stage,
    Target,
)
from nearsight.files.trajectory import write_frames
from nearsight.learning.targets import Targets
from nearsight.report.checks import Check, checks, limiting_label_error
from nearsight.report.data import RunData
from nearsight.report.page import environment, write_report
from nearsight.structures.images import Image, write_images, write_structures

# Four atoms. The differences to the parent's forces are Pythagorean triples, so that the errors
# are 0.005, 0.001, 0 and 0.010 eV/Å: mean 0.004; over atoms 0 and 3 0.0075; over 1 and 2 0.0005.
TRUE = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0], [0.5, 0.5, 0]])
DIFFERENCE = np.array([[0.003, 0.004, 0], [0, 0, 0.001], [0, 0, 0], [0.006, 0, -0.008]])
RAW = np.array([0.004, 0.002, 0.001, 0.008])  # covers atoms 1 and 2
CALIBRATED = 1.5 * RAW  # covers all of them


def iteration(number: int, chunks: list[int], scale: float = 1.0, **changes: Any) -> Iteration:
    numbers = {
        "uncertainty": scale * CALIBRATED,
        "forces": TRUE + scale * DIFFERENCE,
        "calibration": 1.5,
        "energy_rmse": 0.0004,
        "force_rmse": 0.002,
        "max_force_residual": 0.009,
        "seconds": 2.5,
    }
    return make_iteration(number, scale * RAW, chunks, **numbers | changes)


CUPT3 = Target(n_atoms=4, formula="CuPt3")
# Neighbours are up to 1.25 · 2.6 Å away: 2, 2, 3 and 1 of them. A chunk of 3 Å leaves atom 3 out
# but around atom 2 and itself.
ATOMS = Atoms("CuPt3", [[0, 0, 0], [2.6, 0, 0], [1.3, 2.2, 0], [1.3, 2.2, 2.6]])
RUN = RunRecord(
    seed=7,
    parent={"calculator": "emt", "asap_cutoff": False},
    target=CUPT3,
    targets=[CUPT3],
    best_iteration=0,
    stop_reason="max_iterations reached",
    seconds_total=3725.0,
    stages=[Stage(name="Initial cells", seconds=4.0, summary="33 cells")],
    chunk_radius=8.0,
    initial=InitialCells(cells=33, selected=20, counts={"2": 6, "32": 14}),
    parent_calculations=42,
    seconds_parent=5400.0,
    parent_cores=2,
    failures=[],
    versions={"nearsight": "0.1.0"},
)
REFERENCE = Reference(energies=np.array([1.0]), forces=TRUE)
LOCALITY = ForceLocality(  # errors of atom 0: 0.5, 0.013, 0; of atom 3: 0.3, 0.005, 0 eV/Å
    radii=np.array([4.0, 6.0, 8.0]),
    indices=np.array([0, 3]),
    n_atoms=np.array([[2, 3], [3, 4], [4, 4]]),
    forces=np.array(
        [
            [[1.3, 0.4, 0], [0.5, 0.5, 0.3]],
            [[1.005, 0, 0.012], [0.503, 0.504, 0]],
            [[1.0, 0, 0], [0.5, 0.5, 0]],
        ]
    ),
    true_forces=np.array([[1.0, 0, 0], [0.5, 0.5, 0]]),
)
PATH = EnsemblePath(
    energies=np.array([10.0, 8.0, 7.25]),
    fmax=np.array([1.0, 0.3, 0.04]),
    converged=True,
    max_uncertainty=np.array([0.010, 0.015, 0.012]),
    mean_uncertainty=np.array([0.005, 0.007, 0.006]),
)
PARENT_PATH = RelaxationPath(
    energies=np.array([10.5, 8.25, 7.5, 7.0]),
    fmax=np.array([1, 0.4, 0.1, 0.04]),
    converged=True,
)
RELAXATION = Relaxation(
    optimizer="BFGS",
    fmax=0.05,
    ensemble=PATH,
    parent=PARENT_PATH,
    parent_fmax_at_minimum=0.045,
)


TARGETS = [Target(n_atoms=3, formula="CuPt2"), Target(n_atoms=1, formula="Pt")]


def but(record: Any, **changes: Any) -> Any:
    """A copy with other fields."""
    return record.model_copy(update=changes)


def save(folder: Path, *iterations: Iteration, run: RunRecord = RUN, **files: Record) -> Path:
    """A run folder; the names of other files without their suffix."""
    folder.mkdir(exist_ok=True)
    for each in iterations:
        place = iteration_folder(folder, each.iteration)
        place.mkdir()
        each.save(place / Iteration.FILE)
    run.save(folder / RunRecord.FILE)
    for name, record in files.items():
        record.save(folder / f"{name}.json")
    return folder


def three(folder: Path, run: RunRecord = RUN, **files: Record) -> Path:
    """Iterations of 0, 2 and 3 chunks, the middle one the best."""
    steps = (iteration(0, [], 100.0), iteration(1, [0, 3]), iteration(2, [0, 1, 3], 1.25))
    return save(folder, *steps, run=but(run, best_iteration=1), **files)


def add_structures(folder: Path) -> None:
    """Write the target, the chunks of `three`, and the trajectory of the relaxation."""
    write_structures(folder / "target.extxyz", [ATOMS])
    for number, centres in ((1, [0, 3]), (2, [1])):
        chunks = Targets((ATOMS,)).extract(centres, 3.0, 5.0)
        images = [
            Image.whole_chunk(chunk, np.tile(TRUE[centre], (len(chunk), 1)), 1.0)
            for centre, chunk in zip(centres, chunks, strict=True)
        ]
        write_images(iteration_folder(folder, number) / "chunks.extxyz", images)
    frames = [ATOMS.copy() for _ in PATH.energies]
    for step, frame in enumerate(frames):
        frame.positions[3] += [0, 0, 0.1 * step]
        frame.info["uncertainty"] = ((1.0 + step) * CALIBRATED).tolist()
    write_frames(folder / "relaxation.traj", frames)


def full_run(folder: Path) -> Path:
    """A run with everything but retraining, dynamics and failures, and its report."""
    chosen = FeatureSummary(method="force-correlation", candidates=78, selected=21, deviation=0.012)
    three(
        folder,
        but(RUN, features=chosen),
        reference=REFERENCE,
        locality=LOCALITY,
        relaxation=RELAXATION,
    )
    add_structures(folder)
    (folder / "config.toml").write_text("seed = 7 # </pre><script>&\n")
    write_report(folder)
    return folder


def minimal_run(folder: Path) -> Path:
    """A run of the initial training alone, and its report."""
    save(folder, iteration(0, []))
    write_report(folder)
    return folder


class Page(HTMLParser):
    """Tags, attributes and words of a page."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.source = (folder / "report.html").read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words += re.sub(r"\s+", " ", plain(data))


def plain(text: str) -> str:
    return text.replace("\N{WORD JOINER}", "").replace("\N{NO-BREAK SPACE}", " ")


def found_checks(folder: Path) -> dict[str, Check]:
    return {check.key: check for check in checks(RunData.load(folder))}


def status(folder: Path) -> dict[str, str]:
    return {key: check.status for key, check in found_checks(folder).items()}


def words_of(folder: Path) -> str:
    """Summary and checks as the page says them."""
    data = RunData.load(folder)
    found = checks(data)
    prose: Any = environment().get_template("prose.html").module
    texts = [prose.summary(data, found, limiting_label_error(data))]
    texts += [getattr(prose, check.key)(data, check.numbers) for check in found]
    return plain(" ".join(html.unescape(" ".join(texts)).split()))


def page_of(folder: Path) -> Page:
    write_report(folder)
    return Page(folder)
