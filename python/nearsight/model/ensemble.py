"""The ensemble: mean prediction, per-atom uncertainty, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from nearsight import _core
from nearsight.errors import DamagedFileError, InputError
from nearsight.files.atomic import content_digest
from nearsight.files.records import Bounds, EnsembleRecord
from nearsight.files.records.potential import UNITS
from nearsight.model.baseline import Baseline
from nearsight.model.domain import Domain
from nearsight.model.network import Network, core_potential, stack
from nearsight.model.scaling import Scaling, ScalingForm
from nearsight.model.symmetry_functions import SymmetryFunctions

__all__ = ["CONFIDENCE", "Ensemble", "Evaluation"]

Array = npt.NDArray[np.float64]

CONFIDENCE = 2.58
"""Half width of the central 99 % of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Evaluation:
    """Predictions of an ensemble for one structure.

    Attributes
    ----------
    energy : float, eV
        Mean over members, as all without "member" in the name.
    energies : (N,) eV
        Atomic energies.
    forces : (N, 3) eV/Å
    stress : (6,) eV/Å³ or None
        Voigt order xx, yy, zz, yz, xz, xy; None without a cell of three vectors or if not
        requested.
    member_energies : (M,) eV
    member_forces : (M, N, 3) eV/Å or None
    uncertainty_raw : (N,) eV/Å or None
        δ_i = 2.58 σ_i with ``σ_i² = Σ_m |f_i^m − f̄_i|² / (M − 1)``.
    uncertainty : (N,) eV/Å or None
        99 % bound of the error: δ_i, or the floor of the ensemble's bound if that is more, times
        the calibration factor; of an atom outside, δ_i is at least that of the labelled force of
        which it is largest, times the grade.
    uncertainty_95 : (N,) eV/Å or None
        95 % bound; None where the ensemble has no `Bounds`.
    energy_uncertainty : float, eV, or None
        99 % bound of the error of the energy, by the spread of the members' energies per atom. That
        of a difference of energies is at most the sum of both.
    stress_uncertainty : (6,) eV/Å³ or None
        99 % bound of the error of every component of the stress, by that of largest spread.
    extrapolation : (N,) or None
        Extrapolation grade of every atom: above 1, its surroundings are outside what the ensemble
        has labels of, and its energy and force are worth nothing (see `Domain`). None of an
        ensemble that knows no domain.
    isolated : (N,) bool
        Atoms without a neighbour within the cutoff. The networks give them no force.
    """

    energy: float
    energies: Array
    forces: Array
    stress: Array | None
    member_energies: Array
    member_forces: Array | None
    uncertainty: Array | None
    uncertainty_raw: Array | None
    extrapolation: Array | None
    isolated: npt.NDArray[np.bool_]
    uncertainty_95: Array | None = None
    energy_uncertainty: float | None = None
    stress_uncertainty: Array | None = None

    @property
    def results(self) -> dict[str, Any]:
        """All but those of the members, under ASE's names."""
        found = {
            "energy": self.energy,
            "free_energy": self.energy,
            "energies": self.energies,
            "forces": self.forces,
            "isolated": self.isolated,
            "stress": self.stress,
            "uncertainty": self.uncertainty,
            "uncertainty_raw": self.uncertainty_raw,
            "extrapolation": self.extrapolation,
            "uncertainty_95": self.uncertainty_95,
            "energy_uncertainty": self.energy_uncertainty,
            "stress_uncertainty": self.stress_uncertainty,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Ensemble:
    """Networks of one shape on the same symmetry functions; one member alone is a potential.

    Attributes
    ----------
    functions : SymmetryFunctions
    scaling : Scaling
    networks : dict of str to Network
        Networks of all members, by element.
    calibration : float
        Factor from raw to calibrated uncertainty, that of the bound of forces.
    multiplicities : (M, images) int64 or None
        The members' bootstrap samples of the images they were trained on.
    domain : Domain or None
        The environments it has labels of.
    baseline : Baseline or None
        Pair terms that are added to what the networks give.
    bounds : Bounds or None
        Bounds of its errors (see `training.unseen`); None of one that was never compared with
        labels its members do not know.
    provenance : dict
        Origin of the ensemble: settings, parent, versions. Information only.
    """

    functions: SymmetryFunctions
    scaling: Scaling
    networks: Mapping[str, Network]
    calibration: float = 1.0
    multiplicities: npt.NDArray[np.int64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    domain: Domain | None = None
    baseline: Baseline | None = None
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        self.core  # noqa: B018  # checks that all shapes agree

    @cached_property
    def core(self) -> _core.Potential:
        """The compiled potential of all members."""
        return core_potential(
            self.functions, self.scaling, self.networks, self.domain, self.baseline
        )

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements it has networks for."""
        return self.functions.elements

    @property
    def has_bounds(self) -> bool:
        """Whether its calibrated uncertainties are bounds that rest on enough."""
        return self.bounds is not None and self.bounds.forces.is_known

    def __len__(self) -> int:
        return len(np.atleast_1d(next(iter(self.networks.values())).slope))

    @property
    def members(self) -> list[dict[str, Network]]:
        """Networks of every member, by element."""
        return [
            {element: network.member(m) for element, network in self.networks.items()}
            for m in range(len(self))
        ]

    @property
    def has_spread(self) -> bool:
        """Whether members differ; one alone tells nothing of its error."""
        return len(self) > 1

    @property
    def is_calibrated(self) -> bool:
        """Whether its uncertainty is a bound: it was compared with labels unknown to members."""
        return self.has_spread and (self.bounds is not None or self.calibration != 1.0)

    def neighbors(
        self, atoms: Atoms | _core.Structure, skin: float, threads: int = 0
    ) -> _core.NeighborList:
        """Make a neighbour list for `evaluate`.

        It is valid as long as no atom has moved by half the skin (Å) and the cell is the same, see
        its `is_valid_for`. Results do not depend on it, up to 2000 atoms to the last bit; above,
        the list fixes the order of the atoms, and forces differ by rounding.
        """
        radius = self.functions.cutoff.radius
        return _core.NeighborList(self._structure(atoms), radius, skin, threads)

    def evaluate(
        self,
        atoms: Atoms | _core.Structure,
        *,
        members: bool = True,
        stress: bool = True,
        threads: int = 0,
        neighbors: _core.NeighborList | None = None,
    ) -> Evaluation:
        """Energy, forces, stress and uncertainty of a structure.

        Parameters
        ----------
        atoms : ase.Atoms, or the result of ``functions.structure``
        members : bool
            Forces of every member and the uncertainty; without them a call costs about as much
            as one member alone.
        stress : bool
        threads : int
            0: as OpenMP decides (OMP_NUM_THREADS).
        neighbors : optional
            A list of `neighbors` that is still valid; a new one is made without it.

        Raises
        ------
        InputError
            For a structure that cannot be worked with: an element the ensemble does not know,
            positions that are not finite, overlapping atoms ... Also if a result is not finite.
        """
        structure = self._structure(atoms)
        virial = stress and structure.volume > 0.0
        results = self.core.evaluate(
            structure,
            forces="members" if members else "mean",
            virial=virial,
            threads=threads,
            neighbors=neighbors,
        )
        raw = CONFIDENCE * results["deviation"] if members else None
        grade = results.get("extrapolation")
        uncertainty = None if raw is None else self._calibrated(raw, grade)
        bounds = self.bounds if members else None
        return Evaluation(
            energy=results["energy"],
            energies=results["mean_energies"],
            forces=results["mean_forces"],
            stress=_stress(results["virial"], structure.volume) if virial else None,
            member_energies=results["member_energies"],
            member_forces=results["forces"] if members else None,
            uncertainty=uncertainty,
            uncertainty_raw=raw,
            extrapolation=grade,
            isolated=results["isolated"],
            uncertainty_95=_bound_95(bounds, uncertainty),
            energy_uncertainty=_energy_bound(bounds, results, len(structure)),
            stress_uncertainty=_stress_bound(bounds, results, len(structure), structure.volume),
        )

    def _calibrated(self, raw: Array, grade: Array | None) -> Array:
        """Calibrated uncertainty; networks may be flat outside, all members alike."""
        if self.domain is not None and grade is not None:
            least = np.where(grade > 1.0, grade * self.domain.largest_uncertainty, 0.0)
            raw = np.maximum(raw, least)
        return self.calibration * raw if self.bounds is None else self.bounds.forces.of(raw)

    def _structure(self, atoms: Atoms | _core.Structure) -> _core.Structure:
        return self.functions.structure(atoms) if isinstance(atoms, Atoms) else atoms

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (getattr(self, each.name) for each in fields(self))
        return type(self), tuple(parts)  # the compiled part is made again

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole content, the same for the ensemble and its file."""
        return content_digest(EnsembleRecord.model_validate(self.to_dict()).model_dump())

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON."""
        return {
            "units": UNITS,
            "elements": list(self.elements),
            "provenance": dict(self.provenance),
            "calibration": self.calibration,
            "symmetry_functions": self.functions.to_dict(),
            "scaling": self.scaling.to_dict(),
            "scaling_form": None
            if self.scaling.form == ScalingForm()
            else asdict(self.scaling.form),
            "domain": None if self.domain is None else self.domain.to_dict(),
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
            "bounds": None if self.bounds is None else self.bounds.model_dump(),
            "multiplicities": self.multiplicities,
            "members": [
                {element: network.to_dict() for element, network in member.items()}
                for member in self.members
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write one JSON file atomically; numbers round-trip to the last bit."""
        EnsembleRecord.model_validate({**self.to_dict(), "digest": self.digest}).save(path)

    @classmethod
    def load(cls, path: str | Path) -> Ensemble:
        """Read a file of `save`.

        Raises
        ------
        InputError
            If the file is missing, truncated, of another kind, incomplete, from a newer version, or
            holds anything that is no number where one belongs.
        """
        content = EnsembleRecord.load(path).model_dump()
        counts = content["multiplicities"]
        try:
            found = cls(
                SymmetryFunctions.from_dict(content["symmetry_functions"]),
                Scaling.from_dict(content["scaling"], content.get("scaling_form")),
                stack(
                    [
                        {element: Network.from_dict(network) for element, network in member.items()}
                        for member in content["members"]
                    ]
                ),
                float(content["calibration"]),
                None if counts is None else np.asarray(counts, dtype=np.int64),
                content["provenance"],
                None if content.get("domain") is None else Domain.from_dict(content["domain"]),
                None
                if content.get("baseline") is None
                else Baseline.from_dict(content["baseline"]),
                None if content.get("bounds") is None else Bounds.model_validate(content["bounds"]),
            )
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (KeyError, ValueError) as error:
            raise DamagedFileError(
                f"{path}: the ensemble is incomplete or damaged ({type(error).__name__}: {error})"
            ) from error
        if content["elements"] != list(found.elements):
            raise DamagedFileError(
                f"{path}: incomplete or damaged (elements: not those of its symmetry functions)"
            )
        if content.get("digest", found.digest) != found.digest:
            raise DamagedFileError(
                f"{path}: changed or damaged: its digest is that of another content"
            )
        return found


def _stress(virial: Array, volume: float) -> Array:
    voigt: Array = full_3x3_to_voigt_6_stress(virial / volume)
    return voigt


def _bound_95(bounds: Bounds | None, uncertainty: Array | None) -> Array | None:
    if bounds is None or uncertainty is None:
        return None
    return bounds.forces.beside(uncertainty)


def _energy_bound(bounds: Bounds | None, results: Mapping[str, Any], atoms: int) -> float | None:
    if bounds is None or bounds.energy is None:
        return None
    raw = CONFIDENCE * results["energy_deviation"] / atoms
    return atoms * float(bounds.energy.of(raw)) * _outside(results)


def _stress_bound(
    bounds: Bounds | None, results: Mapping[str, Any], atoms: int, volume: float
) -> Array | None:
    if bounds is None or bounds.virial is None or "virial_deviation" not in results:
        return None
    raw = CONFIDENCE * results["virial_deviation"].max() / atoms
    return np.full(6, atoms / volume * float(bounds.virial.of(raw)) * _outside(results))


def _outside(results: Mapping[str, Any]) -> float:
    """The largest grade of an atom that is outside, or 1."""
    grade = results.get("extrapolation")
    return 1.0 if grade is None else float(grade.max(initial=1.0))


def mean_and_raw_uncertainty(member_forces: Array) -> tuple[Array, Array]:
    """Mean (..., 3) and δ = 2.58 σ (...) of forces (M, ..., 3), eV/Å."""
    mean = member_forces.mean(axis=0)
    variance = ((member_forces - mean) ** 2).sum(axis=(0, -1)) / (len(member_forces) - 1)
    return mean, CONFIDENCE * np.sqrt(variance)


def as_ensemble(source: Ensemble | str | Path) -> Ensemble:
    """An ensemble, or the one in a file."""
    return source if isinstance(source, Ensemble) else Ensemble.load(source)
