"""What the page's view of the targets needs, in few and short numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from nearsight.errors import DamagedFileError
from nearsight.files.records import RelaxationPath
from nearsight.files.trajectory import read_frames
from nearsight.report.data import RunData
from nearsight.report.iteration import IterationData

__all__ = ["MOST_ATOMS", "view_data"]

Array = npt.NDArray[Any]

MOST_ATOMS = 20_000
"""Above, there is no view: the page would be large, and slow to turn."""
MOST_VALUES = 20_000
"""Atoms times iterations, and times relaxation steps, that the page holds: some 300 kB."""


def view_data(data: RunData) -> dict[str, Any] | None:
    """The targets, what is known of their atoms in each iteration, and their relaxations.

    Positions are in hundredths of an Å, uncertainties (calibrated), errors and forces in µeV/Å.

    Returns
    -------
    None
        If the folder does not hold the targets, or they are too large.

    Raises
    ------
    DamagedFileError
        If the trajectory of a relaxation is damaged, or that of another one.
    """
    total = sum(len(atoms) for atoms in data.structures)
    if not 0 < total <= MOST_ATOMS:
        return None
    history = _history(data)
    most = max(2, MOST_VALUES // total)
    kept = next(n for n, (_, each) in enumerate(history) if each is data.best)
    shown = sorted({*_spread(len(history), most), kept})
    numbers = sorted({int(z) for atoms in data.structures for z in atoms.numbers})
    ends = np.cumsum([len(atoms) for atoms in data.structures])
    forces = data.best.forces if data.best.true_forces is None else data.best.true_forces
    return {
        "radius": data.run.chunk_radius,
        "chunked": data.noun == "chunk",
        "force": _micro(np.linalg.norm(forces, axis=1)),
        "elements": [_element(number) for number in numbers],
        "targets": [
            {
                "name": f"{atoms.symbols.formula:metal}",
                "first": int(end) - len(atoms),
                "elements": np.searchsorted(numbers, atoms.numbers).tolist(),
                "positions": _hundredths(atoms.positions),
                "cell": _hundredths(np.asarray(atoms.cell)),
                "pbc": atoms.pbc.tolist(),
                "coordination": data.coordination[end - len(atoms) : end].tolist(),
                "relaxation": _relaxation(data, number, most),
            }
            for number, (atoms, end) in enumerate(zip(data.structures, ends, strict=True))
        ],
        "kept": shown.index(kept),
        "iterations": [_iteration(*history[number]) for number in shown],
    }


def _history(data: RunData) -> list[tuple[str, IterationData]]:
    """All that the page can show, with its name: the iterations, and the retraining kept."""
    found = [
        (f"iteration {each.iteration}, {each.chunks} {each.record.noun}", each)
        for each in data.iterations
    ]
    if data.retrained is not None and data.retraining is not None:
        found.append((f"after round {data.retraining.best} of retraining", data.retrained))
    return found


def _iteration(name: str, iteration: IterationData) -> dict[str, Any]:
    errors = iteration.residuals
    return {
        "name": name,
        "uncertainty": _micro(iteration.uncertainty),
        "error": None if errors is None else _micro(errors),
        "chunks": [] if iteration.record.exploration else iteration.record.chunk_indices,
    }


def _relaxation(data: RunData, number: int, most: int) -> dict[str, Any] | None:
    """Steps of the relaxation with the ensemble, few of them where there are many atoms."""
    relaxation, path = data.relaxations[number], data.paths[number]
    if relaxation is None or not path.exists():
        return None
    frames = list(read_frames(path))
    record: RelaxationPath = relaxation.ensemble
    shape = data.structures[number].positions.shape
    written = relaxation.written
    if len(frames) != len(written) or any(
        frame.positions.shape != shape or not np.isfinite(frame.positions).all() for frame in frames
    ):
        raise DamagedFileError(f"{path}: does not fit {relaxation.FILE}")
    places = _spread(len(frames), most)
    steps = [written[place] for place in places]
    uncertainties = [_of_frame(frames[place]) for place in places]
    return {
        "steps": steps,
        "energies": [round(float(e - record.energies[0]), 4) for e in record.energies[steps]],
        "positions": [_hundredths(frames[place].positions) for place in places],
        "uncertainty": None if any(u is None for u in uncertainties) else uncertainties,
    }


def _of_frame(atoms: Atoms) -> list[int] | None:
    """Calibrated uncertainties that a frame carries; None in runs of earlier versions."""
    found = np.asarray(atoms.info.get("uncertainty", []))
    if found.dtype != float or found.shape != (len(atoms),) or not np.isfinite(found).all():
        return None
    return _micro(found)


def _element(number: int) -> dict[str, Any]:
    color = "".join(
        f"{round(255 * part):02x}" for part in jmol_colors[min(number, len(jmol_colors) - 1)]
    )
    symbol = Atoms(numbers=[number]).get_chemical_formula()
    return {"symbol": symbol, "color": f"#{color}", "radius": round(covalent_radii[number], 2)}


def _spread(count: int, most: int) -> list[int]:
    """Up to so many of ``count`` numbers from 0 on, the first and the last among them."""
    places = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return [int(place) for place in np.unique(places)]


def _hundredths(values: Array) -> list[int]:
    return [round(100 * value) for value in np.asarray(values, dtype=float).ravel().tolist()]


def _micro(values: Sequence[float] | Array) -> list[int]:
    """Values in eV/Å as whole numbers of µeV/Å, to three digits."""
    found = 1e6 * np.asarray(values, dtype=float)
    digits = np.floor(np.log10(np.maximum(np.abs(found), 1.0)))
    unit = 10.0 ** np.maximum(digits - 2, 0)
    return [int(value) for value in np.rint(found / unit) * unit]
