"""A run for chemiscope (https://chemiscope.org): the targets in every iteration, and their atoms.

The format is that of chemiscope's documentation, "Input file reference"; its own package is not
needed for it.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import InputError
from nearsight.files.atomic import write_bytes
from nearsight.report.data import RunData
from nearsight.report.iteration import IterationData

__all__ = ["chemiscope_data", "write_chemiscope"]

Array = npt.NDArray[Any]


def write_chemiscope(folder: str | Path, target: str | Path) -> Path:
    """Write a finished run as a file that chemiscope's page, or its package, shows.

    Parameters
    ----------
    folder : path
        Of the run.
    target : path
        Ends in ``.json`` or, compressed, ``.json.gz``.

    Returns
    -------
    path of the file

    Raises
    ------
    InputError
        For another ending, a folder without its targets, or see `RunData.load`.
    """
    target = Path(target)
    if not target.name.endswith((".json", ".json.gz")):
        raise InputError(f"{target}: chemiscope reads files that end in .json or .json.gz")
    text = json.dumps(chemiscope_data(RunData.load(folder)), ensure_ascii=False).encode()
    if target.suffix == ".gz":
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as writer:  # same data, same bytes
            writer.write(text)
        text = buffer.getvalue()
    write_bytes(target, text)
    return target


def chemiscope_data(data: RunData) -> dict[str, Any]:
    """The content: a structure for each target and iteration, a point for each of its atoms.

    Uncertainties (calibrated) and errors are in meV/Å, forces in eV/Å.

    Raises
    ------
    InputError
        If the folder does not hold the targets.
    """
    if not data.structures:
        raise InputError("the folder of the run does not hold its targets (target.extxyz)")
    history = [*data.iterations, *([data.retrained] if data.retrained is not None else [])]
    count, size = len(history), sum(len(atoms) for atoms in data.structures)
    columns: dict[str, tuple[str, list[Array]]] = {
        "uncertainty": ("meV/Å", [1000 * each.uncertainty for each in history]),
        "force": ("eV/Å", [_length(each) for each in history]),
        "learned": ("", [each.trained.astype(float) for each in history]),
        "neighbours": ("", count * [data.coordination.astype(float)]),
        "iteration": ("", [np.full(size, number, dtype=float) for number in range(count)]),
    }
    errors = [each.residuals for each in history]
    if all(each is not None for each in errors):
        columns["error"] = ("meV/Å", [1000 * each for each in errors if each is not None])
    properties: dict[str, dict[str, Any]] = {}
    for name, (unit, values) in columns.items():
        properties[name] = {"target": "atom", "values": np.concatenate(values).tolist()}
        if unit:
            properties[name]["units"] = unit
    frames = count * list(data.structures)
    radius = data.run.chunk_radius
    return {
        "meta": {
            "name": f"{data.title}, trained on {data.parent_name}",
            "description": "Nearsighted force training: every atom in every iteration",
        },
        "settings": {
            "target": "atom",
            "map": {
                "x": {"property": "uncertainty", "scale": "log"},
                "y": {"property": "error" if "error" in columns else "force"},
                "color": {"property": "iteration"},
            },
            "structure": [{"color": {"property": "uncertainty"}}],
        },
        "structures": [_structure(atoms) for atoms in frames],
        "environments": [
            {"structure": number, "center": atom, "cutoff": radius}
            for number, atoms in enumerate(frames)
            for atom in range(len(atoms))
        ],
        "properties": properties,
    }


def _length(iteration: IterationData) -> Array:
    return np.asarray(np.linalg.norm(iteration.forces, axis=1))


def _structure(atoms: Atoms) -> dict[str, Any]:
    found: dict[str, Any] = {"size": len(atoms), "names": list(atoms.symbols)}
    found |= dict(zip("xyz", atoms.positions.T.tolist(), strict=True))
    if atoms.cell.rank == 3:
        found["cell"] = np.asarray(atoms.cell).ravel().tolist()
    return found
