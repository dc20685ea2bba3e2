"""Choice of initial cells and of symmetry functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from ase import Atoms
from threadpoolctl import threadpool_limits

from nearsight.config import FeatureSettings
from nearsight.errors import InputError
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import G2, Cutoff, SymmetryFunctions
from nearsight.selection import (
    cur,
    farthest_point_sampling,
    force_correlation,
    image_descriptor,
    relative_norm_deviation,
)
from nearsight.selection.columns import rounding_noise
from nearsight.selection.cost import marginal_costs
from nearsight.structures.images import Image, check_structure

__all__ = ["FeatureChoice", "check_counts", "choose_features", "choose_images", "elements_of"]

Array = npt.NDArray[np.float64]


def elements_of(images: Sequence[Image]) -> tuple[str, ...]:
    """The elements of the images, in order of first appearance."""
    return tuple(dict.fromkeys(symbol for image in images for symbol in image.atoms.symbols))


def choose_images(images: Sequence[Image], count: int) -> list[int]:
    """Farthest points among images, on two levels: number of atoms, then features (SI 4.1).

    The features are those of the candidate grid, scaled to [−1, 1] over the images, as mean and
    spread over the atoms of each element.

    Returns
    -------
    list of int
        In order of selection; all images if there are not more than ``count``.
    """
    if len(images) <= count:
        return list(range(len(images)))
    functions = SymmetryFunctions.candidates(elements_of(images))
    features = [functions.compute(image.atoms) for image in images]
    scaling = Scaling.fit(functions, features)
    rows = image_descriptor(
        [{e: _scaled(G, scaling, e) for e, G in found.items()} for found in features]
    )
    sizes = [len(image.atoms) for image in images]
    return [int(i) for i in farthest_point_sampling(rows, count, groups=sizes)]


@dataclass(frozen=True)
class FeatureChoice:
    """Chosen symmetry functions.

    Attributes
    ----------
    symmetry_functions : SymmetryFunctions
        In order of selection.
    method : str
    candidates, selected : int
        Over all elements.
    deviation : float
        Relative norm deviation of eq. 8, the largest over the elements.
    remark : str
        For which elements fewer were chosen than asked for, as the end of a sentence.
    """

    symmetry_functions: SymmetryFunctions
    method: str
    candidates: int
    selected: int
    deviation: float
    remark: str = ""

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        return (
            f"{self.selected} of {self.candidates} symmetry functions by {self.method}, "
            f"relative norm deviation {100 * self.deviation:.2g} %{self.remark}"
        )


def choose_features(
    images: Sequence[Image], settings: FeatureSettings, targets: Sequence[Atoms] = ()
) -> FeatureChoice:
    """Choose symmetry functions from the candidate grid, for every element (SI 4.2, 4.3).

    Where fewer candidates than asked for can be told apart on these images, those are taken.

    CUR works on the features as the networks see them, scaled to [−1, 1]. (With Amp's scaling by
    interquartile range, the default of `nearsight.cur`, the networks' errors on EMT were ten times
    larger at the same number of functions.)

    Parameters
    ----------
    images : sequence of Image
    settings : FeatureSettings
    targets : sequence of ase.Atoms
        Structures without labels whose atoms count as well, for CUR. Bulk cells tell few of the
        surroundings in an alloy or at a surface apart: with the target, errors on a particle of
        copper and gold were up to 2.4 times smaller and depended less on which cells there were.

    Raises
    ------
    InputError
        If there are fewer candidates than asked for or none of them varies, an element occurs in
        the targets alone, or forces are to rank what has none.
    """
    if settings.cutoff_function == "polynomial" and settings.gamma is not None:
        cutoff = Cutoff(settings.cutoff, "polynomial", settings.gamma)
    else:
        cutoff = Cutoff(settings.cutoff)
    elements = elements_of(images)
    candidates = SymmetryFunctions.candidates(
        elements,
        cutoff,
        angular_cutoff=settings.angular_cutoff,
        **settings.grid,
    )
    features = [candidates.compute(image.atoms) for image in images]
    if targets and settings.method != "cur":
        raise InputError("targets without forces can be ranked by cur only")
    for number, atoms in enumerate(targets):
        check_structure(atoms, elements, f"target {number}")
        features.append(candidates.compute(atoms))
    scaling = Scaling.fit(candidates, features)
    chosen: dict[str, list[int]] = {}
    deviations, short = [], []
    for element in elements:
        check_counts(candidates, settings, element)
        count = _number(settings.count, element, "count")
        matrix = np.concatenate([found[element] for found in features if element in found])
        try:
            # Threads gain nothing on matrices this small, and cost a lot on a busy machine.
            with threadpool_limits(1, user_api="blas"):
                if settings.method == "cur":
                    scaled = _scaled(matrix, scaling, element)
                    if settings.angular_count is not None:
                        is_radial = [isinstance(f, G2) for f in candidates.functions[element]]
                        angular = _number(settings.angular_count, element, "angular_count")
                        indices = _radial_first(scaled, np.array(is_radial), count, angular)
                    elif settings.by_cost:
                        costs = partial(marginal_costs, candidates, element)
                        indices = _cur(scaled, count, costs=costs)
                    else:
                        indices = _cur(scaled, count)
                else:
                    known, forces = _forces(images, element)
                    indices = force_correlation(matrix[known], forces, count, at_most=True)
        except InputError as error:
            raise InputError(
                f"{count} symmetry functions for {element} cannot be chosen: {error}"
            ) from error
        chosen[element] = [int(i) for i in indices]
        if len(indices) < count:
            short.append(f"{len(indices)} of {count} wanted for {element}")
        deviations.append(relative_norm_deviation(matrix, indices))
    functions = candidates.subset(chosen)
    return FeatureChoice(
        functions,
        f"{settings.method} and cost" if settings.by_cost else settings.method,
        len(candidates),
        len(functions),
        max(deviations),
        f"; {', '.join(short)}: the cells tell no more apart" if short else "",
    )


# Scaled to [-1, 1] already, the spread of a column is no matter.
_cur = partial(cur, min_variance=0.0, scale=False, at_most=True)


def _radial_first(
    scaled: Array, is_radial: npt.NDArray[np.bool_], count: int, angular: int
) -> npt.NDArray[np.intp]:
    """``count`` columns: the radial ones, then ``angular`` by what those do not tell."""
    radial = np.flatnonzero(is_radial)[_cur(scaled[:, is_radial], count - angular)]
    known = np.linalg.qr(scaled[:, radial]).Q
    told = scaled[:, ~is_radial]
    rest = told - known @ (known.T @ told)
    rest[:, np.linalg.norm(rest, axis=0) <= rounding_noise(told)] = 0.0
    if not rest.any():
        return radial
    return np.concatenate([radial, np.flatnonzero(~is_radial)[_cur(rest, angular)]])


def check_counts(candidates: SymmetryFunctions, settings: FeatureSettings, element: str) -> None:
    """Refuse counts of functions that there are not enough candidates for.

    Raises
    ------
    InputError
    """
    given = candidates.functions[element]
    count = _number(settings.count, element, "count")
    if count > len(given):
        raise InputError(
            f"features.count must be at most {len(given)} for {element}, the number of its "
            f"candidates (of {', '.join(settings.grid)}), got {count}"
        )
    if settings.angular_count is None:
        return
    angular = _number(settings.angular_count, element, "angular_count")
    radial = sum(isinstance(f, G2) for f in given)
    least, most = max(1, count - radial), min(count - 1, len(given) - radial)
    if not least <= angular <= most:
        raise InputError(
            f"features.angular_count must be {least} to {most} for {element}, with {count} "
            f"functions of {radial} radial and {len(given) - radial} angular candidates, "
            f"got {angular}"
        )


def _number(count: int | Mapping[str, int], element: str, name: str) -> int:
    if isinstance(count, int):
        return count
    if element not in count:
        raise InputError(f"features.{name} has no number for {element}")
    return count[element]


def _scaled(features: Array, scaling: Scaling, element: str) -> Array:
    scale, offset = scaling.linear(element)
    return features * scale + offset


def _forces(images: Sequence[Image], element: str) -> tuple[npt.NDArray[np.bool_], Array]:
    """Which atoms of ``element`` have a force that counts, (n,), and these forces."""
    known, forces = [], []
    for image in images:
        if image.is_chunk:
            raise InputError("force correlation needs the forces on all atoms, not chunks")
        counts = np.isin(np.arange(len(image.atoms)), image.force_atoms)
        of_element = image.atoms.symbols == element
        known.append(counts[of_element])
        forces.append(image.forces[of_element & counts])
    return np.concatenate(known), np.concatenate(forces)
