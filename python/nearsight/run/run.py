"""A whole run in its folder: the stages in order, each with its file.

A stage whose file is there is not repeated, and every stage goes on from the files of the ones
before it, as read back; so a run that was stopped ends like one that was not.
"""

from __future__ import annotations

import platform
from concurrent.futures import Executor
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.config import Config
from nearsight.config.template import to_toml_value
from nearsight.errors import InputError
from nearsight.files.atomic import read_json, write_text
from nearsight.files.names import numbered
from nearsight.files.records import (
    Comparison,
    Cost,
    FeatureSummary,
    ForceLocality,
    InitialCells,
    Reference,
    Relaxation,
    RetrainingRecord,
    RunRecord,
    Target,
)
from nearsight.learning.initial_cells import count_by_size, describe_sizes
from nearsight.learning.learner import Learner
from nearsight.learning.locality import force_locality
from nearsight.learning.nft import NFT
from nearsight.learning.state import State
from nearsight.learning.targets import Targets
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Failure, Origin, Parent
from nearsight.progress import Progress
from nearsight.report.chunks import size_asked
from nearsight.report.page import write_report
from nearsight.run.advice import advice
from nearsight.run.comparison import compare
from nearsight.run.cost import relative_cost, training_sizes
from nearsight.run.first import first_structures, initial_structures
from nearsight.run.folder import RunFolder
from nearsight.run.follow_up import RELAXATION_FILES, RETRAINING_FILES, FollowUp
from nearsight.run.targets import check_targets, given_targets, keep_targets
from nearsight.selection.choose import choose_features, choose_images
from nearsight.structures.images import (
    Image,
    read_images,
    read_structures,
    write_images,
)

__all__ = ["Run"]


class Run:
    """A configuration carried out in a folder.

    Parameters
    ----------
    config : Config
    folder : path
        Created if missing; a folder of the same configuration is continued.
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
        path = Path(folder)
        self.config = config = _with_own_functions(config, path)
        self.progress = progress or Progress()
        targets = given_targets(config, path)
        check_targets(config, Targets(tuple(targets)))
        self.parent = Parent.of(config.parent, config.executor)
        path.mkdir(parents=True, exist_ok=True)
        given = path / "config.toml"
        kept = given.read_text(encoding="utf-8", errors="replace") if given.exists() else None
        if kept is not None:
            _check_same(path, kept, config.source)
        if kept != config.source:
            write_text(given, config.source)
        keep_targets(path, targets, self.parent.pass_info)
        self.folder = RunFolder(path, self.progress)

    def execute(self) -> None:
        """Carry out all unfinished stages, and write the report.

        Raises
        ------
        InputError, ParentError
            With one sentence; the finished work stays in the folder.
        """
        with self.folder.executing(self.config, self.parent) as self._trainer:
            try:
                self._do_stages()
            finally:
                self.progress.close()

    def _do_stages(self) -> None:
        for sentence in advice(self.config, self._targets):
            self.progress.note(sentence)
        self._try_parent()
        self.folder.stage("Initial cells", "initial.extxyz", self._initial_cells)
        self.folder.stage("Choice of cells", "selected.extxyz", self._choose_images)
        self.folder.stage("Symmetry functions", "symmetry_functions.json", self._choose_features)
        if self.config.locality is not None:
            self.folder.stage("Locality of the parent", ForceLocality.FILE, self._scan_locality)
        self.folder.stage("Nearsighted force training", None, self._train)
        trained = self._state.best.ensemble
        if self.config.report.true_forces:
            self.folder.stage("True forces of the target", Reference.FILE, self._ask_for_forces)
        if self.config.retrains:
            file, work = RetrainingRecord.FILE, self._follow_up.retrain
            self.folder.stage("Retraining", file, work, trained, RETRAINING_FILES)
            trained = self._follow_up.promote_best() or trained
        if self.config.relaxation is not None:
            for number in range(len(self._targets.structures)):
                name = "Relaxation" + (f" of target {number}" if number else "")
                file = numbered(Relaxation.FILE, number)
                others = [numbered(each, number) for each in RELAXATION_FILES]
                relax = partial(self._follow_up.relax, number)
                self.folder.stage(name, file, relax, trained, others)
        if self.config.dynamics is not None:
            file, work = "dynamics/dynamics.json", self._follow_up.run_dynamics
            self.folder.stage("Dynamics", file, work, trained, ["dynamics/**/*"])
        self.progress.stage("Comparison with the labels")
        failed = self._state.history[-1].failed_indices
        compared = compare(self.config, self._follow_up.latest, failed, self.progress)
        compared.save(self.folder / Comparison.FILE)
        self.progress.stage("Report")
        self._write_record()
        write_report(self.folder.path)
        self.progress.note(f"written to {self.folder / 'report.html'}")

    def _try_parent(self) -> None:
        """Find out what the parent lacks before anything else is done."""
        if "Initial cells" in self.folder.stages:
            return  # it was found out then
        structures, stress, origin = first_structures(self.config, self._targets)
        self.parent.probe(structures, stress, origin, self.progress)

    # the stages; each writes its file last and returns its summary

    def _initial_cells(self) -> str:
        images = initial_structures(self.config, self._targets).run(self.parent, self.progress)
        self._check_elements(images)
        write_images(self.folder / "initial.extxyz", images)
        return f"{len(images)} cells: {describe_sizes(images)}"

    def _choose_images(self) -> str:
        images = read_images(self.folder / "initial.extxyz")
        chosen = [images[i] for i in choose_images(images, self.config.images.count)]
        write_images(self.folder / "selected.extxyz", chosen)
        if self.config.images.count > len(images):
            self.progress.note(
                f"images.count = {self.config.images.count}, but there are {len(images)} cells: "
                "all are kept (initial.n_rattled and initial.space_groups make more)"
            )
        return f"{len(chosen)} of {len(images)} cells: {describe_sizes(chosen)}"

    def _choose_features(self) -> str:
        given = self.config.features.symmetry_functions
        path = self.folder / "symmetry_functions.json"
        if given is not None:
            functions = SymmetryFunctions.load(given)
            functions.save(path)
            return f"{len(functions)} symmetry functions from {given.name}"
        settings = self.config.features
        targets = self._targets.structures if settings.with_target else ()
        choice = choose_features(self._selected, settings, targets)
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
        assert settings is not None  # else there is no such stage
        indices = None if settings.atoms == "all" else list(settings.atoms)
        scan = force_locality(
            self._targets.structures[0],
            self.parent,
            settings.radii,
            indices,
            vacuum=self.config.nft.vacuum,
            progress=self.progress,
        )
        scan.save(self.folder / ForceLocality.FILE)
        return scan.summary

    def _train(self) -> str:
        functions = SymmetryFunctions.load(self.folder / "symmetry_functions.json")
        self._state = self._nft.run(
            self._selected,
            functions,
            self._targets.structures,
            self.parent,
            self.folder.path,
            self.progress,
            executor=self._trainer,
        )
        return self._state.summary

    def _ask_for_forces(self) -> str:
        results = self.parent.calculate_many(
            self._targets.structures, origin=Origin("whole", "true forces")
        )
        lost = [result for result in results if isinstance(result, Failure)]
        known = [result for result in results if not isinstance(result, Failure)]
        reference = Reference(
            energies=None if lost else np.array([result.energy for result in known]),
            forces=None if lost else np.concatenate([result.forces for result in known]),
        )
        reference.save(self.folder / Reference.FILE)
        if lost:
            return f"not known: the parent failed on {lost[0]}"
        return f"the parent's forces on all {len(self._targets)} atoms"

    # shared by the stages

    @cached_property
    def _nft(self) -> NFT:
        return NFT.of(self.config)

    @cached_property
    def _follow_up(self) -> FollowUp:
        trained = Learner.from_training(
            self._nft,
            self._state,
            self.folder.path,
            self._targets,
            self.parent,
            self.config.retraining,
            self._trainer,
        )
        return FollowUp(self.config, self.folder.path, trained, self.progress)

    @cached_property
    def _targets(self) -> Targets:
        structures = tuple(read_structures(self.folder / "target.extxyz"))
        return Targets(structures, self.parent.pass_info)

    @cached_property
    def _selected(self) -> list[Image]:
        return read_images(self.folder / "selected.extxyz")

    def _check_elements(self, images: list[Image]) -> None:
        found = {symbol for image in images for symbol in image.atoms.symbols}
        missing = sorted(set(self._targets.elements) - found)
        if missing:
            raise InputError(
                f"the target contains {', '.join(missing)}, which no initial structure contains"
            )

    def _write_record(self) -> None:
        """Write ``run.json``, the facts of the whole run for the report."""
        config, state = self.config, self._state
        initial = read_images(self.folder / "initial.extxyz")
        notes = read_json(self.folder / "symmetry_functions.json")["notes"]
        record = RunRecord(
            seed=config.seed,
            parent=self.parent.settings,
            target=Target(n_atoms=len(self._targets), formula=self._targets.formula),
            targets=[
                Target(n_atoms=len(atoms), formula=f"{atoms.symbols.formula:metal}")
                for atoms in self._targets.structures
            ],
            best_iteration=state.best.iteration,
            stop_reason=state.stop_reason,
            seconds_total=sum(stage.seconds for stage in self.folder.stages.values()),
            stages=list(self.folder.stages.values()),
            chunk_radius=config.nft.chunk_radius,
            initial=InitialCells(
                cells=len(initial),
                selected=len(self._selected),
                counts={str(n): k for n, k in count_by_size(self._selected).items()},
            ),
            parent_calculations=self.parent.known,
            seconds_parent=self.parent.seconds,
            parent_cores=config.executor.cores * config.executor.threads,
            failures=self.parent.failures.given_up(),
            versions={
                "python": platform.python_version(),
                **{name: version(name) for name in ("nearsight", "numpy", "scipy", "ase")},
            },
            features=FeatureSummary(**notes) if notes else None,
            cost=self._cost([len(image.atoms) for image in initial]),
        )
        record.save(self.folder / RunRecord.FILE)

    def _cost(self, initial: list[int]) -> Cost:
        exponent = self.config.parent.cost_exponent
        radius, before = self.config.nft.chunk_radius, len(self._state.images)
        retrained = self._follow_up.latest.images[before:]  # of all its rounds
        sizes = {
            "chunks": training_sizes(self.config.nft, self._targets, self._state)
            + [size_asked(image.atoms, radius) for image in retrained],
            "validation": [len(image.atoms) for image in self._state.validation],
            "initial": initial,
        }
        whole = [len(atoms) for atoms in self._targets.structures]
        costs = {name: relative_cost(many, whole, exponent) for name, many in sizes.items()}
        return Cost(exponent=exponent, **costs)

    _state: State
    _trainer: Executor | None


def _with_own_functions(config: Config, folder: Path) -> Config:
    """A configuration whose given symmetry functions are those in the folder, if they are gone."""
    given, own = config.features.symmetry_functions, folder / "symmetry_functions.json"
    if given is None or given.is_file() or not own.is_file():
        return config
    features = config.features.model_copy(update={"symmetry_functions": own})
    return config.model_copy(update={"features": features})


def _check_same(folder: Path, kept: str, given: str) -> None:
    """Refuse a folder whose configuration asks for other results than the one given."""
    if kept == given:
        return
    try:
        differences = Config.parse(kept).differences(Config.parse(given))
    except InputError:  # truncated, or of another version
        raise InputError(
            f"{folder}: belongs to another configuration (its config.toml cannot be read here); "
            "give another folder with --workdir"
        ) from None
    if differences:
        named = [
            f"{key} was {_shown(key, old)}, now {_shown(key, new)}"
            for key, old, new in differences[:3]
        ]
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise InputError(
            f"{folder}: belongs to another configuration ({'; '.join(named)}{more}); set it back, "
            "or give another folder with --workdir, with a copy of parent.db in it to keep the "
            "calculations"
        )


def _shown(key: str, value: Any) -> str:
    if value is None:
        return "not set"
    if "." not in key and isinstance(value, dict):
        return "there"  # a whole section
    text = to_toml_value(value)
    return text if len(text) <= 60 else text[:57] + "..."
