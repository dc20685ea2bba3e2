"""The targets of a run: checked, and as its folder keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import compare_atoms

from nearsight.config import Config
from nearsight.errors import InputError
from nearsight.learning.targets import Targets
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents.spec import plain_structure
from nearsight.reading import split_selection
from nearsight.run.advice import check_candidates, check_distances
from nearsight.simulation.integrators import check_conditions
from nearsight.structures.images import (
    check_constraints,
    check_structure,
    read_structure,
    read_structures,
    write_structures,
)
from nearsight.training.charges import check_baseline

__all__ = ["check_targets", "given_targets", "keep_targets"]


def given_targets(config: Config, folder: Path) -> list[Atoms]:
    """The targets of a run, as the files hold them that the configuration names.

    Where one of these is gone, for the folder was moved or the file deleted, as the folder has
    them.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    files, kept = [config.target.structure, *config.target.others], folder / "target.extxyz"
    if kept.is_file() and not all(Path(split_selection(file)[0]).exists() for file in files):
        return read_structures(kept)
    targets = [read_structure(files[0], config.target.format)]
    targets += [
        atoms for file in files[1:] for atoms in read_structures(file, config.target.format)
    ]
    return targets


def check_targets(config: Config, targets: Targets) -> None:
    """Refuse mistakes that would stop the run hours later.

    Raises
    ------
    InputError
        With one sentence about the first of them.
    """
    known = config.initial.elements
    missing = sorted(set(targets.elements) - set(known or targets.elements))
    if missing:
        raise InputError(
            f"the target contains {', '.join(missing)}, which initial.elements leaves out"
        )
    features = config.features
    cutoff, elements = features.cutoff, targets.elements
    if features.symmetry_functions is not None:
        functions = SymmetryFunctions.load(features.symmetry_functions)
        cutoff, elements = functions.cutoff.radius, functions.elements
    targets.check(elements, config.nft.within(cutoff))
    check_candidates(config, elements)
    check_baseline(config.baseline, elements)
    nft = config.nft
    if nft.trim is not None and nft.labels != "target":
        targets.small_chunk(nft.chunk_radius, nft.vacuum, trim=True)  # that it can be
    for atoms in targets.structures:
        check_distances(atoms, "target")
        check_constraints(atoms, "target")
    if config.dynamics is not None:
        check_conditions(targets.structures[0], config.dynamics)
    scan, target = config.locality, targets.structures[0]
    if scan is not None:
        indices = range(len(target)) if scan.atoms == "all" else scan.atoms
        if max(indices) >= len(target):
            raise InputError(
                f"locality.atoms names atom {max(indices)}, the target has {len(target)} atoms"
            )
        check_structure(target, name="target", radius=min(scan.radii), indices=indices)


def keep_targets(folder: Path, targets: Sequence[Atoms], pass_info: Sequence[str]) -> None:
    """Write ``target.extxyz``, or look whether that is the same.

    Parameters
    ----------
    folder : Path
    targets : sequence of ase.Atoms
    pass_info : sequence of str
        Keys of ``info`` that the parent is given.

    Raises
    ------
    InputError
        If the folder is that of other targets.
    """
    known = folder / "target.extxyz"
    wanted = [_without_other_info(atoms, pass_info) for atoms in targets]
    if not known.exists():
        write_structures(known, wanted)
    elif _differ(wanted, read_structures(known)):
        raise InputError(
            f"{folder}: belongs to another target (its target.extxyz differs); "
            "give another folder with --workdir"
        )


def _without_other_info(atoms: Atoms, pass_info: Sequence[str]) -> Atoms:
    """A target with what its parent is given, and what it is constrained to."""
    copy = atoms.copy()
    copy.info = plain_structure(atoms, pass_info).info
    return copy


def _differ(given: list[Atoms], kept: list[Atoms]) -> bool:
    return len(given) != len(kept) or any(
        compare_atoms(a, b, tol=1e-7) or _info(a) != _info(b)  # the file keeps 8 decimals
        for a, b in zip(given, kept, strict=True)
    )


def _info(atoms: Atoms) -> dict[str, str]:
    """Properties as the file has them: text."""
    return {
        key: str(value.tolist() if hasattr(value, "tolist") else value)
        for key, value in atoms.info.items()
    }
