"""Labels that members were not trained on: the errors there, the bounds they give, the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from nearsight.files.records import Bound, Bounds, ExpectedError
from nearsight.files.records.bounds import STATED
from nearsight.model.ensemble import CONFIDENCE, Ensemble, mean_and_raw_uncertainty
from nearsight.structures.images import Image
from nearsight.training.dataset import TrainingData

__all__ = ["INNER", "Deviations", "Unseen", "errors_left_out", "fit_bound"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

INNER = 0.7
"""Part of a chunk's radius within which its forces tell the error on the target. Farther out they
are those of the cut; within, they say what happens when the surroundings are filled in."""

BESIDE = 0.95
"""Quantile of the bound beside the stated one."""

MEDIAN, COMMON = 0.5, 0.9
"""Quantiles of δ that are tried as floor: of energies and virials, which are few, and of which some
happen to have hardly any spread; and of forces, whose bound then is the same for all but uncommon
ones. The median is tried as the knee as well."""

GAIN = 0.5
"""Part of the mean width to which another kind of bound must narrow it to be used. What grows with
δ holds for other structures too: of Pt260 (EMT), nine potentials, it covered at least 99 % of the
forces of the target and of frames at 1200 K. Of three of them a floor at the common δ covered 83 to
98 % of those frames, one at the largest δ 40 to 84 %."""

GAIN_OF_FEW = 0.75
"""The same for energies and virials."""

FEWEST_MEMBERS = 3
"""Members that must lack an image for its errors to count in the 99 % bound and in the mean: two
agree now and then by chance, and the largest ratios of an error to δ are theirs. (Two will do where
no image is lacked by more. 54 potentials by EMT and SNAP: a bound 4.0 mean errors wide, not 5.1,
which covers 97.3 to 100 % of the errors of the target; docs/theory.md.)"""

FEWEST_CHUNK_FORCES = 10
"""Of chunks, as soon as which those of cells do not count: chunks are what the ensemble is for."""


@dataclass(frozen=True)
class Deviations:
    """Errors of predictions, and the raw uncertainty δ = 2.58 σ that belongs to each.

    Attributes
    ----------
    errors, raw : (n,) float64
        In the same unit.
    """

    errors: Array
    raw: Array

    @classmethod
    def joined(cls, parts: Sequence[Deviations]) -> Deviations:
        """All of some, at least one, one after the other."""
        return cls(
            np.concatenate([part.errors for part in parts]),
            np.concatenate([part.raw for part in parts]),
        )

    @property
    def largest(self) -> Deviations:
        """The largest error with the largest δ."""
        return Deviations(self.errors.max(keepdims=True), self.raw.max(keepdims=True))

    @classmethod
    def of_members(cls, predicted: Array, labels: Array) -> Deviations:
        """Of scalars (M, n), each by itself."""
        raw = CONFIDENCE * predicted.std(axis=0, ddof=1)
        return cls(np.abs(predicted.mean(axis=0) - labels), raw)


@dataclass(frozen=True)
class ImageDeviations:
    """Those of one image: of its counted forces, its energy and virial per atom."""

    members: int
    chunk: bool
    forces: Deviations
    lengths: Array
    inner: npt.NDArray[np.bool_]
    energy: Deviations | None
    virial: Deviations | None

    @property
    def inner_forces(self) -> Deviations:
        """Those of the inner forces alone."""
        return Deviations(self.forces.errors[self.inner], self.forces.raw[self.inner])

    @classmethod
    def of(
        cls,
        ensemble: Ensemble,
        image: Image,
        members: npt.NDArray[np.bool_],
        part: float = 1.0,
    ) -> ImageDeviations:
        """By the members for which ``members`` is true, at least two.

        Inner forces are those within ``part`` of the distance of the outermost one.
        """
        found = ensemble.evaluate(image.atoms, stress=False)
        assert found.member_forces is not None  # requested
        forces, counted = found.member_forces[members], image.force_atoms
        labels = image.forces[counted]
        mean, raw = mean_and_raw_uncertainty(forces[:, counted])
        error = np.linalg.norm(mean - labels, axis=1)
        inner = _within(image, part)
        energy = virial = None
        if image.energy is not None:
            n = len(image.atoms)
            energy = Deviations.of_members(
                found.member_energies[members, None] / n, np.array([image.energy / n])
            )
            if image.chunk and not image.atoms.pbc.any():
                positions = image.atoms.positions
                virial = Deviations.of_members(
                    virial_of_forces(positions, forces) / n,
                    virial_of_forces(positions, image.forces[None])[0] / n,
                ).largest
        lengths = np.linalg.norm(labels, axis=1)
        return cls(
            int(members.sum()),
            image.is_chunk,
            Deviations(error, raw),
            lengths,
            inner,
            energy,
            virial,
        )


def _within(image: Image, part: float) -> npt.NDArray[np.bool_]:
    """Whether counted forces are within a part of the distance of the outermost one."""
    return np.asarray(image.distances <= part * image.distances.max(initial=0.0))


def virial_of_forces(positions: Array, forces: Array) -> Array:
    """−Σ r ⊗ F of structures that are not periodic, (M, 6) in Voigt order, from (M, N, 3)."""
    full = -np.einsum("na,mnb->mab", positions - positions.mean(axis=0), forces)
    full = 0.5 * (full + full.transpose(0, 2, 1))
    return np.asarray(full[:, (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)])


@dataclass(frozen=True)
class Unseen:
    """What labels tell of an ensemble that its members, or some of them, do not know.

    Attributes
    ----------
    validation : list of ImageDeviations
        Larger chunks, or geometries, that no member was trained on.
    out_of_bag : list of ImageDeviations
        Images of the training, by the members whose sample lacks them.
    """

    validation: Sequence[ImageDeviations]
    out_of_bag: Sequence[ImageDeviations]

    @classmethod
    def of(
        cls,
        ensemble: Ensemble,
        images: Sequence[Image] = (),
        multiplicities: Counts | None = None,
        validation: Sequence[Image] = (),
    ) -> Unseen:
        """Look at images of the training, with their (M, images) ``multiplicities``, and others."""
        everyone = np.ones(len(ensemble), dtype=bool)
        lacking = [] if multiplicities is None else multiplicities.T == 0
        return cls(
            [ImageDeviations.of(ensemble, image, everyone) for image in validation],
            [
                ImageDeviations.of(ensemble, image, members, INNER)
                for image, members in zip(images, lacking, strict=True)
                if members.sum() >= 2
            ],
        )

    @property
    def bounds(self) -> Bounds | None:
        """Bounds of errors; None without anything to tell them.

        Of forces by validation images, and by these with the inner forces of out-of-bag chunks,
        where there are any; otherwise by out-of-bag chunks as soon as they bring
        `FEWEST_CHUNK_FORCES` forces, or else by all images. Of energies and virials by all images.
        """
        chunks = [each for each in self.out_of_bag if each.chunk]
        enough = sum(len(each.lengths) for each in chunks) >= FEWEST_CHUNK_FORCES
        if self.validation:
            larger = [each.forces for each in self.validation]
            surely, beside = _apart(chunks)
            forces = fit_bound(
                [*larger, *(each.inner_forces for each in surely)],
                [each.inner_forces for each in beside],
                larger,
                floor=COMMON,
            )
        else:
            surely, beside = _apart(chunks if enough else self.out_of_bag)
            forces = fit_bound(
                [each.forces for each in surely], [each.forces for each in beside], floor=COMMON
            )
        if forces is None:
            return None
        known = [*self.validation, *self.out_of_bag]
        return Bounds(
            forces=forces,
            energy=fit_bound(
                [each.energy for each in known if each.energy is not None],
                floor=MEDIAN,
                gain=GAIN_OF_FEW,
            ),
            virial=fit_bound(
                [each.virial for each in known if each.virial is not None],
                floor=MEDIAN,
                gain=GAIN_OF_FEW,
            ),
        )

    @property
    def expected_error(self) -> ExpectedError | None:
        """Mean error of a force on the target; None as long as no label tells it."""
        chunks = [each for each in self.out_of_bag if each.chunk]
        images, _ = _apart([each for each in self.validation or chunks if each.inner.any()])
        if not images:
            return None
        every = np.concatenate([each.forces.errors[each.inner] for each in images])
        means = np.array([each.forces.errors[each.inner].mean() for each in images])
        parts = np.array([each.inner.sum() for each in images]) / len(every)
        mean, k = float(every.mean()), len(images)
        reach = 0.0
        if k > 1:
            variance = (parts**2 * (means - mean) ** 2).sum() * k / (k - 1)
            reach = float(stdtrit(k - 1, 0.95) * np.sqrt(variance))
        return ExpectedError(
            mean=mean,
            low=max(mean - reach, 0.0),
            high=mean + reach,
            forces=len(every),
            images=k,
            source="validation" if self.validation else "out-of-bag",
            typical=float(np.concatenate([each.lengths[each.inner] for each in images]).mean()),
        )


def _apart(
    images: Sequence[ImageDeviations],
) -> tuple[list[ImageDeviations], list[ImageDeviations]]:
    """Images that enough members were asked of, and the others."""
    fewest = min(FEWEST_MEMBERS, max((each.members for each in images), default=0))
    return (
        [each for each in images if each.members >= fewest],
        [each for each in images if each.members < fewest],
    )


def fit_bound(
    images: Sequence[Deviations],
    beside: Sequence[Deviations] = (),
    within: Sequence[Deviations] = (),
    floor: float = 0.0,
    gain: float = GAIN,
) -> Bound | None:
    """The bound of the errors in images, of the first kind unless another one is much sharper.

    The factor holds for δ up to the largest, which is the knee, or to the `MEDIAN`; or for all
    above a quantile of δ, the ``floor``. A kind is much sharper that narrows the bound to ``gain``
    of its mean width. Those ``beside`` count for the 95 % bound alone. The bound is nowhere
    narrower than for those ``within`` alone. None without images, or where δ is zero everywhere.

    The factors are quantiles of those that each error takes, of n factors that with the number
    ⌈(n + 1) q⌉, which an (n + 1)th one is below with probability q (split conformal prediction; Lei
    et al., J. Am. Stat. Assoc. 113, 1094 (2018)). Where they are fewer than that takes, it is the
    largest, or what Student's t makes of their root mean square, if that is more.
    """
    if not any((each.raw > 0).any() for each in images):
        return None
    known = Deviations.joined(images)
    more = Deviations.joined([*images, *beside])
    alone = [Deviations.joined(within)] if within else []
    largest, middle = float(known.raw.max()), float(np.quantile(known.raw, MEDIAN))
    common = float(np.quantile(known.raw, floor)) if floor else 0.0
    best, width = None, np.inf
    for least, knee in ((0.0, largest), (0.0, middle or largest), (common, largest)):
        ratios = _factors(known, least, knee)
        narrow = [_factors(each, least, knee) for each in alone]
        factor = max(_quantile(each, STATED) for each in (ratios, *narrow))
        factor_95 = max(_quantile(each, BESIDE) for each in (_factors(more, least, knee), *narrow))
        if factor_95 == 0.0:
            continue
        bound = Bound(
            factor=factor,
            factor_95=min(factor, factor_95),
            floor=least,
            knee=knee,
            labels=len(ratios),
            images=len(images),
        )
        mean = float(bound.of(known.raw).mean())
        if mean < gain * width:
            best, width = bound, mean
    return best


def _factors(known: Deviations, floor: float, knee: float) -> Array:
    """The factors with which the bound is as large as the errors, in order."""
    raw = np.maximum(known.raw, floor)
    errors, raw = known.errors[raw > 0], raw[raw > 0]
    found = errors / raw
    beyond = (raw > knee) & (errors > raw)
    found[beyond] = 1.0 + (errors - raw)[beyond] / knee
    return np.sort(found)


def _quantile(ordered: Array, q: float) -> float:
    if len(ordered) == 0:
        return 0.0
    n = len(ordered)
    rank = int(np.ceil((n + 1) * q))
    if rank <= n:
        return float(ordered[rank - 1])
    normal = stdtrit(n, 0.5 + q / 2.0) * np.sqrt(np.mean(ordered**2))
    return float(max(ordered[-1], normal))


def errors_left_out(data: TrainingData, weights: Sequence[Array], multiplicities: Counts) -> Array:
    """Errors of single members on the inner forces of the chunks that their samples lack, eV/Å."""
    inner = np.concatenate([_within(each.image, INNER) for each in data.fingerprints])
    rows, asked = data.row_image, inner & data.is_chunk[data.row_image]
    found = [
        np.linalg.norm(data.core.predict(member)[1] - data.forces, axis=1)[asked & lacked[rows]]
        for member, lacked in zip(weights, multiplicities == 0, strict=True)
    ]
    return np.concatenate(found)
