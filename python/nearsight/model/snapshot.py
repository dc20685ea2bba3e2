"""Structures with the results of an ensemble, in a form that ASE's writers keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from nearsight.errors import InputError
from nearsight.model.calculator import NAME, NearsightCalculator
from nearsight.model.ensemble import Ensemble, Evaluation
from nearsight.structures.labels import POTENTIAL_KEY, PREDICTED_KEY

__all__ = ["PER_ATOM", "labelled", "snapshot", "without_results"]

PER_ATOM = ("uncertainty", "uncertainty_95", "uncertainty_raw", "extrapolation", "isolated")
"""Results that ASE has no place for."""
OF_ALL = ("energy_uncertainty", "stress_uncertainty")
"""Likewise, of the whole structure."""


def snapshot(atoms: Atoms, in_info: bool = False) -> Atoms:
    """Copy a structure with its results, in a form that ASE's writers keep.

    Parameters
    ----------
    atoms : ase.Atoms
        With a `NearsightCalculator`.
    in_info : bool
        Put ``uncertainty`` and ``uncertainty_95`` (bounds of the error, eV/Å), ``uncertainty_raw``
        (2.58 σ), ``extrapolation`` (above 1: outside) and ``isolated`` into ``atoms.info``, as
        lists, instead of ``atoms.arrays``. Extended XYZ keeps arrays as columns; ASE's
        trajectories keep ``info`` alone.

    Returns
    -------
    ase.Atoms
        Energy, forces and, with a cell, stress are in its calculator; their bounds
        ``energy_uncertainty`` (eV), ``stress_uncertainty`` (eV/Å³) and the SHA-256 of the potential
        (``nearsight_potential``) in ``info``.

    Raises
    ------
    InputError
        If there is no `NearsightCalculator`, or the structure cannot be evaluated.
    """
    calculator = atoms.calc
    if not isinstance(calculator, NearsightCalculator):
        raise InputError(
            f"a snapshot is of a structure with a NearsightCalculator, got {calculator!r}"
        )
    calculator.get_property("uncertainty", atoms)
    return _with(atoms, calculator.results, calculator.ensemble, in_info)


def labelled(
    atoms: Atoms, ensemble: Ensemble, result: Evaluation | None = None, in_info: bool = False
) -> Atoms:
    """The `snapshot` of a structure that an ensemble has evaluated, or is to evaluate."""
    return _with(atoms, (result or ensemble.evaluate(atoms)).results, ensemble, in_info)


def without_results(atoms: Atoms) -> Atoms:
    """A copy without calculator and without what a snapshot adds: it holds at one place alone."""
    plain = atoms.copy()
    for name in PER_ATOM:
        plain.arrays.pop(name, None)
        plain.info.pop(name, None)
    for name in (PREDICTED_KEY, POTENTIAL_KEY, *OF_ALL):
        plain.info.pop(name, None)
    return plain


def _with(atoms: Atoms, results: dict[str, Any], ensemble: Ensemble, in_info: bool) -> Atoms:
    copy = without_results(atoms)
    place: dict[str, Any] = copy.info if in_info else copy.arrays
    for name in PER_ATOM:
        if name in results and (name != "isolated" or results[name].any()):
            # lists in info, for which == has a value
            place[name] = results[name].tolist() if in_info else np.array(results[name])
    for name in OF_ALL:
        if name in results:
            copy.info[name] = np.asarray(results[name]).tolist()
    copy.info[POTENTIAL_KEY] = ensemble.digest
    copy.info[PREDICTED_KEY] = results["energy"]
    kept = {name: results[name] for name in ("energy", "forces", "stress") if name in results}
    copy.calc = SinglePointCalculator(copy, **kept)
    copy.calc.name = NAME
    return copy
