"""What a target is, and what its run will ask of the parent: said before it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
from ase import Atoms

from nearsight.config import Config
from nearsight.learning.targets import Targets
from nearsight.progress import count_noun
from nearsight.run.advice import EMPTY, empty_space
from nearsight.run.cost import SAMPLED, estimate_cost, label_counts
from nearsight.run.first import initial_structures
from nearsight.run.suggest import expected_distance
from nearsight.structures.chunks import extract_chunks

__all__ = ["Passport"]

RELAXATION_STEPS = 7
"""Calculations of a cell until it is relaxed: 7 to 8 with EMT."""


@dataclass(frozen=True)
class Passport:
    """A target with the configuration of its run.

    Attributes
    ----------
    target : ase.Atoms
    config : Config
    """

    target: Atoms
    config: Config

    def rows(self, probe: tuple[int, float] | None = None) -> list[tuple[str, str]]:
        """Names and sentences, to be read.

        Parameters
        ----------
        probe : (int, float), optional
            Atoms of a chunk, and the seconds that its calculation took.
        """
        whole = self.config.nft.labels == "target"
        found = [("target", self._described()), ("distances", self._distances())]
        if not whole:
            found.append(("chunks", self._chunks()))
        found.append(("parent calls", ", ".join(self._calls())))
        cost = estimate_cost(self.target, self.config, self._counts)
        labels = "geometries" if whole else "chunks"
        exponent = self.config.parent.cost_exponent
        sentence = (
            f"{labels} as much as {_amount(cost)} calculations of the whole target, if it grows "
            f"with the number of atoms to the power {exponent:g}"
        )
        found.append(("cost", sentence))
        if probe is not None:
            found.append(("time", self._time(cost, *probe)))
        return found

    @cached_property
    def _counts(self) -> tuple[int, int]:
        return label_counts(self.target, self.config)

    @cached_property
    def _sampled(self) -> list[int]:
        count = min(len(self.target), SAMPLED)
        some = np.linspace(0, len(self.target) - 1, count).astype(int)
        return sorted(set(some.tolist()))

    @cached_property
    def _cut(self) -> list[Atoms]:
        return extract_chunks(self.target, self._sampled, self.config.nft.chunk_radius, 0.0)

    def _described(self) -> str:
        atoms = self.target
        parts = [f"{atoms.symbols.formula:metal}, {len(atoms)} atoms"]
        counts = Counter(atoms.symbols)
        if len(counts) > 1:
            parts.append(", ".join(f"{n} {symbol}" for symbol, n in counts.items()))
        if not atoms.pbc.any():
            parts.append("not periodic")
            return "; ".join(parts)
        for name, periodic, empty in zip(
            "abc", atoms.pbc, empty_space(atoms, atoms.cell.complete()), strict=True
        ):
            if not periodic:
                parts.append(f"not periodic along {name}")
            elif empty > EMPTY:
                parts.append(f"periodic along {name} with {empty:.1f} Å of empty space")
            else:
                parts.append(f"periodic along {name}")
        return "; ".join(parts)

    def _distances(self) -> str:
        """The shortest distance of each pair of elements that are neighbours, and the usual one."""
        shortest: dict[tuple[str, str], float] = {}
        for chunk in self._cut:
            away = np.linalg.norm(chunk.positions[1:] - chunk.positions[0], axis=1)
            nearest = int(away.argmin()) + 1
            pair = tuple(sorted((chunk.symbols[0], chunk.symbols[nearest])))
            shortest[pair] = min(away[nearest - 1], shortest.get(pair, np.inf))
        return ", ".join(
            f"{a}–{b} {distance:.2f} Å (usual: {expected_distance(a, b):.2f})"
            for (a, b), distance in sorted(shortest.items())
        )

    def _chunks(self) -> str:
        nft = self.config.nft
        larger = extract_chunks(self.target, self._sampled, nft.larger_radius, 0.0)
        return (
            f"{_sizes(self._cut)} within {nft.chunk_radius:g} Å; larger ones {_sizes(larger)} "
            f"within {nft.larger_radius:.3g} Å"
        )

    def _calls(self) -> list[str]:
        """Numbers of calculations, by what they are of."""
        config, nft = self.config, self.config.nft
        structures, relaxed, _ = initial_structures(config, Targets.of(self.target)).first()
        elements = len(set(self.target.symbols))
        if relaxed:  # crystals of every composition, each relaxed and rattled
            crystals = sum(comb(len(cell) + elements - 1, elements - 1) for cell in structures)
            cells = crystals * (RELAXATION_STEPS + config.initial.n_rattled)
            found = [f"about {cells} small cells"]
        else:
            found = [f"{len(structures)} first structures"] if structures else []
        if nft.labels == "target":
            return [*found, f"at most {sum(self._counts)} geometries of the whole target"]
        chunks, larger = self._counts
        are_all = chunks < min(nft.max_chunks, len(self.target))
        others = " (by symmetry there are no others)" if are_all else ""
        found.append(f"at most {count_noun(chunks, 'chunk')}{others}")
        found.append(count_noun(larger, "larger one"))
        if config.retrains:
            found.append(f"{config.retrained_chunks} more if a relaxation needs them")
        if config.report.true_forces:
            found.append("the whole target to compare with")
        return found

    def _time(self, cost: float, atoms: int, seconds: float) -> str:
        """Wall time of the chunks, from the time one took."""
        engine, exponent = self.config.executor, self.config.parent.cost_exponent
        workers = 1 if engine.engine == "inline" else engine.workers
        hours = cost * seconds * (len(self.target) / atoms) ** exponent / workers / 3600.0
        beside = "" if workers == 1 else f" with {workers} side by side"
        length = f"about {hours:.1f} h" if hours >= 0.1 else f"about {60 * hours:.0f} min"
        if hours < 1 / 60:
            length = "less than a minute"
        return (
            f"{length} for the chunks{beside}, from one of {atoms} atoms, which took "
            f"{seconds:.3g} s; the small cells and the trainings come on top"
        )


def _amount(cost: float) -> str:
    """A number to be read, never with an exponent."""
    if cost < 0.01:
        return "less than 0.01"
    return f"{cost:.0f}" if cost >= 10.0 else f"{cost:.2g}"


def _sizes(chunks: Sequence[Atoms]) -> str:
    sizes = [len(chunk) for chunk in chunks]
    return f"{min(sizes)} to {max(sizes)} atoms (mean {np.mean(sizes):.0f})"
