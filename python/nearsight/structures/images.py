"""Structures and their labels: ``ase.Atoms`` checked, turned into arrays, read and written."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import ase.io
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.data import atomic_numbers
from ase.io.formats import UnknownFileTypeError

from nearsight import _core
from nearsight.errors import InputError, plain_text
from nearsight.files.atomic import remove, write_bytes
from nearsight.reading import split_selection
from nearsight.structures.labels import CHUNK_KEY, LARGEST, WEIGHTS_KEY, read_labels
from nearsight.structures.own_formats import reader_of

__all__ = [
    "CHUNK_KEY",
    "Image",
    "check_constraints",
    "check_structure",
    "core_structure",
    "labelled_image",
    "mend_images",
    "near_atoms",
    "read_images",
    "read_structure",
    "read_structures",
    "write_images",
    "write_structures",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Image:
    """A structure with the labels that count in the loss.

    A bulk image has an energy and the forces on all its atoms, and so has a chunk that is learned
    as the structure it is. A chunk whose surroundings stand for those in the target has no energy
    and one force, that on its centre, atom 0.

    Attributes
    ----------
    atoms : ase.Atoms
    forces : (n, 3) float64, eV/Å; n = N, or 1 for the centre of a chunk
    energy : float, eV, or None for the centre of a chunk
    force_weights : (n,) float64 or None
        Weight of each force in the loss; zero leaves it out. None: all one.
    chunk : bool
        Whether it was cut from a target: its forces count one by one, those of a bulk image by
        their mean (see `training.dataset`).
    """

    atoms: Atoms
    forces: Array
    energy: float | None = None
    force_weights: Array | None = None
    chunk: bool = False

    def __post_init__(self) -> None:
        expected = 1 if self.energy is None else len(self.atoms)
        if self.forces.shape != (expected, 3):
            raise InputError(
                f"forces of an image must have shape ({expected}, 3), got {self.forces.shape}"
            )
        if not (np.abs(self.forces) <= LARGEST).all():
            raise InputError(f"forces of an image must be finite, {LARGEST:g} eV/Å at most")
        if self.energy is not None and not abs(self.energy) <= LARGEST * len(self.atoms):
            raise InputError(f"the energy of an image must be finite, {LARGEST:g} eV per atom")
        weights = self.force_weights
        if weights is None:
            return
        if weights.shape != (expected,):
            raise InputError(
                f"force weights of an image must have shape ({expected},), got {weights.shape}"
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise InputError("force weights of an image must be finite, not negative, not all zero")

    @property
    def is_chunk(self) -> bool:
        """Whether it was cut from a target."""
        return self.chunk or self.energy is None

    @cached_property
    def force_atoms(self) -> npt.NDArray[np.intp]:
        """(F,) atoms whose force counts."""
        if self.force_weights is None:
            return np.arange(len(self.forces))
        return np.flatnonzero(self.force_weights)

    @cached_property
    def distances(self) -> Array:
        """(F,) distance of these atoms from the first one, the centre of a chunk, in Å."""
        positions = self.atoms.positions
        return np.asarray(np.linalg.norm(positions[self.force_atoms] - positions[0], axis=1))

    @classmethod
    def whole_chunk(
        cls, atoms: Atoms, forces: Array, energy: float, radius: float | None = None
    ) -> Image:
        """A chunk learned as the structure it is; forces count within ``radius`` (Å), or all."""
        distances = np.linalg.norm(atoms.positions - atoms.positions[0], axis=1)
        within = distances <= (np.inf if radius is None else radius)
        return cls(atoms, forces, energy, within.astype(float), chunk=True)

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Image:
        """The image in ``atoms`` with the labels its calculator carries.

        Raises
        ------
        InputError
            If the labels are missing.
        """
        labels, formula = read_labels(atoms), atoms.get_chemical_formula()
        plain = _without_calculator(atoms)
        if labels.forces is None:
            raise InputError(f"structure {formula} {labels.explain_missing('forces')}")
        chunk = bool(atoms.info.get(CHUNK_KEY))
        if chunk and labels.energy is None:
            return cls(plain, labels.forces[:1])
        if labels.energy is None:
            raise InputError(f"structure {formula} {labels.explain_missing('energy')}")
        return cls(plain, labels.forces, labels.energy, labels.force_weights, chunk)

    def to_atoms(self) -> Atoms:
        """A copy of the structure whose calculator carries the labels.

        Where a chunk has the force on its centre alone, those on its other atoms are zero; they
        are never used.
        """
        atoms = self.atoms.copy()
        forces = np.zeros((len(atoms), 3))
        forces[: len(self.forces)] = self.forces
        if self.force_weights is not None:
            atoms.set_array(WEIGHTS_KEY, self.force_weights)
        if self.is_chunk:
            atoms.info[CHUNK_KEY] = True
        if self.energy is None:
            atoms.calc = SinglePointCalculator(atoms, forces=forces)
        else:
            atoms.calc = SinglePointCalculator(atoms, energy=self.energy, forces=forces)
        return atoms


def check_structure(
    atoms: Atoms,
    elements: Sequence[str] | None = None,
    name: str = "structure",
    radius: float | None = None,
    indices: Sequence[int] | None = None,
) -> None:
    """Refuse a structure that no stage can work with.

    Parameters
    ----------
    atoms : ase.Atoms
    elements : sequence of str, optional
        The elements that are known; any when left out.
    name : str
        What the messages call the structure.
    radius : float, Å, optional
        Within which atoms must have a neighbour, periodic images counted.
    indices : sequence of int, optional
        These atoms; all when left out.

    Raises
    ------
    InputError
        Empty structure, non-finite positions, unknown element, periodic direction without a
        cell vector, overlapping atoms, or an atom without neighbours.
    """
    structure = core_structure(atoms, elements, name)
    if radius is None:
        _count_neighbours(structure, _NEAR, name)  # the core objects to overlapping atoms
        return
    wanted = np.arange(len(atoms)) if indices is None else np.asarray(indices)
    # almost always the nearest neighbours settle it, a tenth of all pairs within the radius
    for reach in (min(radius, _BOND), radius):
        wanted = wanted[_count_neighbours(structure, reach, name)[wanted] == 0]
        if len(wanted) == 0:
            return
    raise InputError(
        f"{name}: atom {wanted[0]} ({atoms.symbols[wanted[0]]}) has no neighbour within "
        f"{radius:g} Å"
    )


def near_atoms(atoms: Atoms, radius: float, name: str) -> npt.NDArray[np.bool_]:
    """(N,) whether an atom has a neighbour within ``radius`` (Å)."""
    return _count_neighbours(core_structure(atoms, name=name), radius, name) > 0


_NEAR = 0.01  # Å; farther apart than atoms that overlap for the core
_BOND = 3.0  # Å; most bonds are shorter


def _count_neighbours(
    structure: _core.Structure, radius: float, name: str
) -> npt.NDArray[np.int64]:
    """(N,) number of neighbours within ``radius``."""
    try:
        return _core.NeighborList(structure, radius).counts(structure)
    except InputError as error:  # the list knows no names
        raise InputError(f"{name}: {error}") from None


def _species(atoms: Atoms, elements: Sequence[str], name: str) -> npt.NDArray[np.int32]:
    """(N,) index into ``elements``."""
    species: npt.NDArray[np.int32] = _species_index(tuple(elements))[atoms.numbers]
    if (species < 0).any():
        symbol = atoms.symbols[np.flatnonzero(species < 0)[0]]
        raise InputError(f"{name} contains {symbol}, but only {', '.join(elements)} is known here")
    return species


@cache
def _species_index(elements: tuple[str, ...]) -> npt.NDArray[np.int32]:
    """By atomic number: the index into ``elements``, or −1."""
    index = np.full(len(atomic_numbers), -1, dtype=np.int32)
    index[[atomic_numbers[element] for element in elements]] = np.arange(len(elements))
    return index


def core_structure(
    atoms: Atoms, elements: Sequence[str] | None = None, name: str = "structure"
) -> _core.Structure:
    """The structure as the core takes it, checked.

    Raises
    ------
    InputError
        See `check_structure`; that no atoms overlap is found when their neighbours are.
    """
    if len(atoms) and not (atoms.numbers.min() >= 0 and atoms.numbers.max() < len(atomic_numbers)):
        wrong = next(z for z in atoms.numbers if not 0 <= z < len(atomic_numbers))
        raise InputError(f"{name}: {wrong} is the atomic number of no element")
    if elements is None:
        species = np.zeros(len(atoms), dtype=np.int32)
    else:
        species = _species(atoms, elements, name)
    name = name.encode(errors="backslashreplace").decode()  # of a file whose name is no text
    return _core.Structure(atoms.positions, species, np.asarray(atoms.cell), atoms.pbc, name)


def read_structures(path: str | Path, file_format: str | None = None) -> list[Atoms]:
    """All structures of a file that ASE reads (extxyz, traj, ASE database, ...).

    ``file.db@id=3`` and ``file.traj@-1`` select as everywhere in ASE.

    Parameters
    ----------
    path : path
    file_format : str, optional
        By its name in ASE; what ASE takes it for when left out.

    Raises
    ------
    InputError
        If the file is missing, is of no known format, or holds no such structure.
    """
    name, selection = split_selection(path)
    place = Path(name)
    if not (place.is_file() or place.is_dir()):  # a pipe would never end
        raise InputError(f"{name}: {'not a file' if place.exists() else 'no such file'}")
    try:
        if file_format in (None, "lammps-dump-text") and (reader := reader_of(place)):
            found = reader(place, selection)
        else:
            found = ase.io.read(
                name,
                index=":" if selection is None else selection,
                format=file_format,
                do_not_split_by_at_sign=True,
            )
    except InputError:
        raise
    except (StopIteration, IndexError) as error:
        if selection is None:
            raise InputError(f"{name}: ASE cannot read it ({type(error).__name__})") from error
        raise InputError(f"{name}: there is no structure {selection} in it") from error
    except Exception as error:  # ASE's readers raise whatever their format makes them raise
        text = plain_text(f"{type(error).__name__}: {error}", 200)
        hint = "; it is a folder, not the file of a structure" if place.is_dir() else ""
        if isinstance(error, UnknownFileTypeError) and file_format is not None:
            text = f"it knows no format {file_format!r}"
        elif isinstance(error, UnknownFileTypeError):
            hint = "; where you know the format, name it as ASE does (--format lammps-data)"
        raise InputError(f"{name}: ASE cannot read it ({text}){hint}") from error
    structures = found if isinstance(found, list) else [found]
    if not structures:
        raise InputError(f"{name}: holds no structure, or its format is another one (--format)")
    return structures


def read_structure(path: str | Path, file_format: str | None = None) -> Atoms:
    """The last structure of a file, checked.

    Raises
    ------
    InputError
        See `read_structures` and `check_structure`.
    """
    atoms = read_structures(path, file_format)[-1]
    check_structure(atoms, name=str(path))
    return atoms


def read_images(path: str | Path) -> list[Image]:
    """The labelled images of a structure file; chunks are marked ``nearsight_chunk``."""
    images = []
    for number, atoms in enumerate(read_structures(path)):
        name = f"{path}, structure {number}"
        check_structure(atoms, name=name)
        images.append(labelled_image(atoms, name))
    return images


def labelled_image(atoms: Atoms, name: str) -> Image:
    """The image in ``atoms``; ``name`` is what messages call it. See `Image.from_atoms`."""
    try:
        return Image.from_atoms(atoms)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def write_images(path: str | Path, images: Iterable[Image]) -> None:
    """Write labelled images as extended XYZ, whole or not at all."""
    write_structures(path, [image.to_atoms() for image in images])


def mend_images(path: Path, images: Iterable[Image]) -> bool:
    """Write labelled images if a file holds anything else; whether it did."""
    content = _extxyz([image.to_atoms() for image in images])
    if path.is_file() and path.read_bytes() == content:
        return False
    remove(path)
    write_bytes(path, content)
    return True


def check_constraints(
    atoms: Atoms, name: str = "structure", who: str = "a run", hint: str = ""
) -> None:
    """Refuse constraints that extended XYZ, and so the files of a run, would lose.

    Parameters
    ----------
    atoms : ase.Atoms
    name, who, hint : str
        What the message calls the structure and what would lose them, and its end.

    Raises
    ------
    InputError
        If there is a constraint other than FixAtoms and FixCartesian.
    """
    kinds = {type(c).__name__ for c in atoms.constraints if not isinstance(c, _KEPT)}
    if kinds:
        raise InputError(
            f"{name}: {who} cannot keep constraints of the kind {', '.join(sorted(kinds))} in its "
            f"files; it can keep FixAtoms and FixCartesian{hint}"
        )


_KEPT = (FixAtoms, FixCartesian)


def write_structures(path: str | Path, structures: Sequence[Atoms]) -> None:
    """Write structures as extended XYZ, whole or not at all.

    Extended XYZ keeps eight decimals; who continues from the file must read it back.
    """
    write_bytes(path, _extxyz(structures))


def _extxyz(structures: Sequence[Atoms]) -> bytes:
    buffer = io.StringIO()
    ase.io.write(buffer, structures, format="extxyz")
    return buffer.getvalue().encode()


def _without_calculator(atoms: Atoms) -> Atoms:
    plain = atoms.copy()
    plain.info.pop(CHUNK_KEY, None)
    plain.arrays.pop(WEIGHTS_KEY, None)
    return plain
