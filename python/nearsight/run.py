"""A whole run in its folder: the stages in order, each with its file.

A stage whose file is there is not done again, and every stage goes on from the files of the ones
before it, as read back; so a run that was stopped ends like one that was not.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import compare_atoms

from nearsight.config import Config
from nearsight.ensemble import Ensemble
from nearsight.errors import InputError
from nearsight.images import (
    Image,
    check_neighbours,
    check_structure,
    read_images,
    read_structure,
    write_images,
    write_structures,
)
from nearsight.initialization import Initialization
from nearsight.locality import force_locality
from nearsight.nft import NFT, State
from nearsight.parents import Parent
from nearsight.progress import Progress
from nearsight.relaxation import relax, relax_with_parent
from nearsight.report.page import write_report
from nearsight.settings import InitialSettings
from nearsight.stages import choose_features, choose_images
from nearsight.storage import check_header, read_json, write_json, write_text
from nearsight.symmetry_functions import SymmetryFunctions

__all__ = ["Run"]

FORMAT = "nearsight-run"
VERSION = 1


class Run:
    """A configuration carried out in a folder.

    Parameters
    ----------
    config : Config
    folder : path
        Made if it is not there; a folder of the same configuration is continued.
    progress : Progress, optional

    Raises
    ------
    InputError
        If the target, the parent or given symmetry functions cannot be worked with (nothing is
        written then), or the folder belongs to another configuration or target.
    """

    def __init__(
        self, config: Config, folder: str | Path, progress: Progress | None = None
    ) -> None:
        self.config = config
        self.folder = Path(folder)
        self.progress = progress or Progress()
        target = read_structure(config.target.structure)
        self._check(target)
        parent = (config.parent.calculator, config.parent.arguments)
        Parent(*parent)
        self.folder.mkdir(parents=True, exist_ok=True)
        given = self.folder / "config.toml"
        if not given.exists():
            write_text(given, config.source)
        elif given.read_text(encoding="utf-8") != config.source:
            raise InputError(
                f"{self.folder}: belongs to another configuration (its config.toml differs); "
                "give another folder with --workdir"
            )
        known = self._path("target.extxyz")
        if not known.exists():
            plain = target.copy()
            plain.info = {}
            write_structures(known, [plain])
        elif compare_atoms(target, read_structure(known), tol=1e-7):  # the file keeps 8 decimals
            raise InputError(
                f"{self.folder}: belongs to another target (its target.extxyz differs); "
                "give another folder with --workdir"
            )
        self.parent = Parent(*parent, self._path("parent.db"))
        self._stages = self._earlier_stages()

    def execute(self) -> None:
        """Do all stages that are not done, and write the report.

        Raises
        ------
        InputError, ParentError
            With one sentence; everything finished before stays in the folder.
        """
        try:
            self._stage("Initial cells", "initial.extxyz", self._initial_cells)
            self._stage("Choice of cells", "selected.extxyz", self._choose_images)
            self._stage("Symmetry functions", "symmetry_functions.json", self._choose_features)
            if self.config.locality is not None:
                self._stage("Locality of the parent", "locality.json", self._scan_locality)
            self._stage("Nearsighted force training", None, self._train)
            if self.config.report.true_forces:
                self._stage("True forces of the target", "reference.json", self._ask_for_forces)
            if self.config.relaxation is not None:
                self._stage("Relaxation", "relaxation.json", self._relax)
            self.progress.stage("Report")
            self._write_record()
            write_report(self.folder)
            self.progress.note(f"written to {self._path('report.html')}")
        finally:
            self.progress.close()

    # the stages; each writes its file last and returns one sentence

    def _initial_cells(self) -> str:
        settings = self.config.initial
        if settings.structures is not None:
            images = read_images(settings.structures)
        else:
            images = Initialization(
                elements=self._elements(settings),
                a0=settings.a0,
                space_groups=settings.space_groups,
                minsep=settings.minsep,
                posamp=settings.posamp,
                n_rattled=settings.n_rattled,
            ).run(self.parent, self.progress)
        self._check_elements(images)
        write_images(self._path("initial.extxyz"), images)
        return f"{len(images)} cells: {_by_size(images)}"

    def _choose_images(self) -> str:
        images = read_images(self._path("initial.extxyz"))
        chosen = [images[i] for i in choose_images(images, self.config.images.count)]
        write_images(self._path("selected.extxyz"), chosen)
        return f"{len(chosen)} of {len(images)} cells: {_by_size(chosen)}"

    def _choose_features(self) -> str:
        given = self.config.features.symmetry_functions
        path = self._path("symmetry_functions.json")
        if given is not None:
            functions = SymmetryFunctions.load(given)
            functions.save(path)
            return f"{len(functions)} symmetry functions from {given.name}"
        choice = choose_features(self._selected, self.config.features)
        choice.symmetry_functions.save(
            path,
            method=choice.method,
            candidates=choice.candidates,
            selected=choice.selected,
            deviation=choice.deviation,
        )
        return choice.summary

    def _scan_locality(self) -> str:
        settings = self.config.locality
        assert settings is not None  # else the stage is left out
        indices = None if settings.atoms == "all" else list(settings.atoms)
        scan = force_locality(
            self._target,
            self.parent,
            settings.radii,
            indices,
            vacuum=self.config.nft.vacuum,
            progress=self.progress,
        )
        write_json(self._path("locality.json"), scan.to_dict())
        last = scan.table()[-1]
        return (
            f"at {last['radius']:g} Å the force of the chunk is that of the whole to "
            f"{last['mean_error']:.2g} meV/Å on average, {last['max_error']:.2g} at most"
        )

    def _train(self) -> str:
        config = self.config
        nft = NFT(config.nft, config.network, config.training, config.ensemble, config.seed)
        functions = SymmetryFunctions.load(self._path("symmetry_functions.json"))
        self._state = nft.run(
            self._selected, functions, self._target, self.parent, self.folder, self.progress
        )
        return self._state.summary

    def _ask_for_forces(self) -> str:
        result = self.parent.calculate(self._target)
        write_json(
            self._path("reference.json"),
            {
                "format": "nearsight-reference",
                "version": 1,
                "energy": result.energy,
                "forces": result.forces,
            },
        )
        return f"the parent's forces on all {len(self._target)} atoms"

    def _relax(self) -> str:
        settings = self.config.relaxation
        assert settings is not None  # else the stage is left out
        ensemble = Ensemble.load(self._path("best.json"))
        ours = relax(ensemble, self._target, settings, self.progress, self._path("relaxation.traj"))
        write_structures(self._path("relaxed.extxyz"), [ours.atoms])
        parents = fmax = None
        if settings.with_parent or self.config.report.true_forces:
            moved = ours.atoms.copy()
            forces = self.parent.calculate(moved).forces
            for constraint in moved.constraints:
                constraint.adjust_forces(moved, forces)
            fmax = float((forces**2).sum(axis=1).max() ** 0.5)
        if settings.with_parent:
            parents = relax_with_parent(
                self.parent,
                self._target,
                settings,
                self.progress,
                self._path("relaxation-parent.traj"),
            ).to_dict()
        write_json(
            self._path("relaxation.json"),
            {
                "format": "nearsight-relaxation",
                "version": 1,
                "optimizer": ours.optimizer,
                "fmax": settings.fmax,
                "ensemble": ours.to_dict(),
                "parent": parents,
                "parent_fmax_at_minimum": fmax,
            },
        )
        return ours.summary

    # what the stages share

    @cached_property
    def _target(self) -> Atoms:
        return read_structure(self._path("target.extxyz"))

    @cached_property
    def _selected(self) -> list[Image]:
        return read_images(self._path("selected.extxyz"))

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _elements(self, settings: InitialSettings) -> tuple[str, ...]:
        return settings.elements or tuple(dict.fromkeys(self._target.symbols))

    def _check(self, target: Atoms) -> None:
        """Refuse what would fail hours later."""
        known = self.config.initial.elements
        missing = sorted(set(target.symbols) - set(known or target.symbols))
        if missing:
            raise InputError(
                f"the target contains {', '.join(missing)}, which initial.elements leaves out"
            )
        features = self.config.features
        cutoff = features.cutoff
        if features.symmetry_functions is not None:
            functions = SymmetryFunctions.load(features.symmetry_functions)
            check_structure(target, functions.elements, "target")
            cutoff = functions.cutoff.radius
        check_neighbours(target, min(cutoff, self.config.nft.chunk_radius), "target")
        scan = self.config.locality
        if scan is not None:
            indices = range(len(target)) if scan.atoms == "all" else scan.atoms
            if max(indices) >= len(target):
                raise InputError(
                    f"locality.atoms names atom {max(indices)}, the target has {len(target)} atoms"
                )
            check_neighbours(target, min(scan.radii), "target", indices)

    def _check_elements(self, images: list[Image]) -> None:
        found = {symbol for image in images for symbol in image.atoms.symbols}
        missing = sorted(set(self._target.symbols) - found)
        if missing:
            raise InputError(
                f"the target contains {', '.join(missing)}, which no initial structure contains"
            )

    def _stage(self, name: str, file: str | None, work: Callable[[], str]) -> None:
        """Do a stage whose file is not there yet, and keep its time and its sentence."""
        self.progress.stage(name)
        done = self._stages.get(name)
        if done is None or file is None or not self._path(file).exists():
            began = time.perf_counter()
            summary = work()
            seconds = time.perf_counter() - began + (done["seconds"] if done else 0.0)
            done = {"name": name, "seconds": seconds, "summary": summary}
            if file is not None:
                done |= {"file": file, "sha256": _sha256(self._path(file))}
            self._stages[name] = done
            write_json(
                self._path("stages.json"),
                {"format": "nearsight-stages", "version": 1, "stages": self._stages},
            )
        self.progress.note(done["summary"])

    def _earlier_stages(self) -> dict[str, dict[str, Any]]:
        """What is done, its files found to be as they were written."""
        path = self._path("stages.json")
        if not path.exists():
            return {}
        stages = dict(check_header(read_json(path), path, "nearsight-stages", 1)["stages"])
        for done in stages.values():
            file = self._path(done.get("file", ""))
            if file.is_file() and _sha256(file) != done["sha256"]:
                raise InputError(
                    f"{file}: damaged or changed since it was written; move it away to have it "
                    "made again"
                )
        return stages

    def _write_record(self) -> None:
        """``run.json``: what the report says of the run as a whole."""
        config, state = self.config, self._state
        content: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "seed": config.seed,
            "parent": self.parent.settings,
            "target": {
                "n_atoms": len(self._target),
                "formula": self._target.symbols.get_chemical_formula(mode="metal"),
            },
            "best_iteration": state.best.iteration,
            "stop_reason": state.stop_reason,
            "seconds_total": sum(stage["seconds"] for stage in self._stages.values()),
            "stages": list(self._stages.values()),
            "chunk_radius": config.nft.chunk_radius,
            "initial": {
                "cells": len(read_images(self._path("initial.extxyz"))),
                "selected": len(self._selected),
                "counts": {str(n): k for n, k in _sizes(self._selected)},
            },
            "parent_calculations": self.parent.known,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("nearsight", "numpy", "scipy", "ase")},
            },
        }
        notes = read_json(self._path("symmetry_functions.json"))["notes"]
        if notes:
            content["features"] = notes
        write_json(self._path("run.json"), content)

    _state: State


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sizes(images: list[Image]) -> list[tuple[int, int]]:
    return sorted(Counter(len(image.atoms) for image in images).items())


def _by_size(images: list[Image]) -> str:
    return ", ".join(f"{count} of {size} atoms" for size, count in _sizes(images))
