"""The baseline of a training, its charges fitted to labelled forces where that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from scipy.linalg import null_space
from scipy.optimize import least_squares

from nearsight.config import BaselineSettings
from nearsight.errors import InputError
from nearsight.model.baseline import Baseline
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.structures.images import Image
from nearsight.training.fingerprints import Fingerprints

__all__ = ["check_baseline", "make_baseline"]

Array = npt.NDArray[np.float64]


def check_baseline(settings: BaselineSettings, elements: Sequence[str]) -> None:
    """Raise an `InputError` for charges that cannot be had of these elements."""
    if settings.charges == "fitted" and len(elements) < 2:
        raise InputError(
            'baseline.charges = "fitted" needs a target of two elements or more; leave it out'
        )
    if isinstance(settings.charges, dict):
        missing = [element for element in elements if element not in settings.charges]
        if missing:
            raise InputError(f"baseline.charges leaves out {', '.join(missing)}")
        values = [settings.charges[element] for element in elements]
        if any(values) and not min(values) < 0.0 < max(values):
            raise InputError(
                "baseline.charges must be positive for some elements of the target and negative "
                "for others, so that it can be neutral"
            )


def make_baseline(
    settings: BaselineSettings,
    images: Sequence[Image],
    functions: SymmetryFunctions,
    targets: Sequence[Atoms],
) -> Baseline | None:
    """The pair terms that settings ask for; None without any.

    Parameters
    ----------
    settings : BaselineSettings
    images : sequence of Image
        Labels that charges are fitted to.
    functions : SymmetryFunctions
        For their elements.
    targets : sequence of ase.Atoms
        With fitted charges they are neutral.

    Raises
    ------
    InputError
        See `check_baseline`.
    """
    elements = functions.elements
    check_baseline(settings, elements)
    radii = {
        element: settings.repulsion_range * float(covalent_radii[atomic_numbers[element]])
        for element in elements
        if settings.repulsion is not None
    }
    given = settings.charges if isinstance(settings.charges, dict) else {}
    baseline = Baseline(radii, dict(given), settings.charge_damping, settings.charge_cutoff)
    if settings.charges == "fitted":
        baseline = _with_fitted_charges(baseline, images, functions, targets)
    return baseline if baseline.radii or any(baseline.charges.values()) else None


def _with_fitted_charges(
    baseline: Baseline,
    images: Sequence[Image],
    functions: SymmetryFunctions,
    targets: Sequence[Atoms],
) -> Baseline:
    """The charges that explain best what the symmetry functions cannot.

    By least squares over the labelled forces, together with energies of atoms that are linear in
    their features: on short bonds these are most of the force, and charges alone would stand for
    them.

    Charges that leave the targets neutral are q = B c, with the columns of B orthogonal to the
    numbers of atoms. Forces are linear in the products c_k c_l. Their best values are found first,
    the nearest c to them after that: with two elements that is all, with more it is where a search
    begins. Which of q and -q is meant no force tells: the first element gets the positive one.
    """
    counts = Counter(symbol for atoms in targets for symbol in atoms.symbols)
    directions = null_space(np.array([[float(counts[e]) for e in functions.elements]]))
    size = directions.shape[1]
    pairs = np.triu_indices(size)
    matrix, best = _normal_equations(baseline, directions, images, functions)
    products = np.zeros((size, size))
    products[pairs] = products.T[pairs] = best
    values, vectors = np.linalg.eigh(products)
    start = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    scales, axes = np.linalg.eigh(matrix)
    root = np.sqrt(np.maximum(scales, 0.0))[:, None] * axes.T

    def distance(c: Array) -> Array:
        return np.asarray(root @ (np.outer(c, c)[pairs] - best))

    found = directions @ (least_squares(distance, start).x if size > 1 else start)
    found = np.round(found * (np.sign(found[0]) or 1.0), 6) + 0.0
    return replace(baseline, charges=dict(zip(functions.elements, found.tolist(), strict=True)))


def _normal_equations(
    baseline: Baseline, directions: Array, images: Sequence[Image], functions: SymmetryFunctions
) -> tuple[Array, Array]:
    """Of the products of charges: the matrix, the part of the features taken out, and the best."""
    total: Array | None = None
    for image in images:
        bare = replace(baseline, charges={}) if baseline.radii else None
        prints = Fingerprints.of(image, functions, bare)
        labels = prints.image.forces[image.force_atoms].ravel()
        rows = np.column_stack(
            [
                *_forces_of_charges(baseline, directions, image, functions),
                *_forces_of(prints, len(functions.elements)).T,
                labels,
            ]
        )
        if image.force_weights is not None:
            rows *= np.repeat(np.sqrt(image.force_weights[image.force_atoms]), 3)[:, None]
        # einsum rather than BLAS, whose last bits depend on its number of threads
        product = np.einsum("ik,il->kl", rows, rows, optimize=False)
        total = product if total is None else total + product
    assert total is not None  # there are images
    size = np.sqrt(np.maximum(total.diagonal(), 1e-300))
    total = total / np.outer(size, size)
    count = directions.shape[1] * (directions.shape[1] + 1) // 2
    charges, features = [*range(count), -1], slice(count, -1)
    inverse = np.linalg.pinv(total[features, features], rcond=1e-8, hermitian=True)
    across = total[charges, features]
    rest = total[np.ix_(charges, charges)] - across @ inverse @ across.T
    matrix, vector = rest[:-1, :-1], rest[:-1, -1]
    best = np.linalg.lstsq(matrix, vector, rcond=1e-8)[0] * size[-1] / size[:count]
    return matrix * np.outer(size[:count], size[:count]), best


def _forces_of(prints: Fingerprints, elements: int) -> Array:
    """(3F, elements · features) forces of energies that are one of the features of an element."""
    forces, blocks = len(prints.image.force_atoms), prints.block_offsets
    width = prints.derivatives.shape[2]
    found = np.zeros((forces, elements, 3, width))
    row = np.repeat(np.arange(forces), np.diff(blocks))
    np.subtract.at(found, (row, prints.species[prints.block_center]), prints.derivatives)
    return found.transpose(0, 2, 1, 3).reshape(3 * forces, -1)


def _forces_of_charges(
    baseline: Baseline, directions: Array, image: Image, functions: SymmetryFunctions
) -> list[Array]:
    """Forces (3F,) by each product of charges."""

    def forces(charges: Array) -> Array:
        named = dict(zip(functions.elements, charges.tolist(), strict=True))
        terms = replace(baseline, radii={}, charges=named)
        found = image.forces - terms.residual(image, functions).forces
        return np.asarray(found[image.force_atoms].ravel())

    alone = [forces(each) for each in directions.T]
    return [
        alone[k] if k == m else forces(directions[:, k] + directions[:, m]) - alone[k] - alone[m]
        for k, m in zip(*np.triu_indices(directions.shape[1]), strict=True)
    ]
