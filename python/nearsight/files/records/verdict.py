"""The verdict on a run: what its potential is good for, why, and what to do next."""

from __future__ import annotations

import re
import shlex
from os.path import normpath
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from nearsight.files.records.base import Part, Record
from nearsight.files.records.bounds import FEWEST, FEWEST_IMAGES, Bound, ExpectedError
from nearsight.progress import count_noun

__all__ = ["NAME", "RUN", "USES", "Finding", "Use", "Verdict", "figure"]

Use = Literal["none", "forces", "relaxation", "dynamics"]
USES: tuple[Use, ...] = ("none", "forces", "relaxation", "dynamics")
"""From the least demanding to the most: what is good for one is good for all before it."""

HEADLINES: dict[Use, str] = {
    "dynamics": "Usable for dynamics",
    "relaxation": "Usable for relaxation, not for dynamics",
    "forces": "Usable for forces on {subject}, not for relaxation",
    "none": "Not usable",
}
TARGET = "the target as given"
RUN = "{run}"
"""Stands for the folder of the run."""
NAME = "{name}"
"""Stands for its name alone, as files beside it have it."""


def figure(value: float, digits: int = 3) -> str:
    """A number to so many digits, without an exponent where it is large."""
    return f"{float(f'{value:.{digits}g}'):.15g}"


class Finding(Part):
    """One figure that a verdict rests on.

    Attributes
    ----------
    key : str
        What was looked at.
    allows : str
        The most demanding use that it leaves.
    value : float
        In the unit that ``sentence`` gives it in, or that of eV, Å.
    sentence : str
        The figure, and what it is compared with.
    """

    key: str
    allows: Use
    value: FiniteFloat
    sentence: str


class Verdict(Record):
    """What the potential of a run is good for (``verdict.json``).

    Attributes
    ----------
    use : str
        The most demanding use that all findings leave.
    findings : list of Finding
    expected : ExpectedError or None
        Expected error on the targets; None if nothing tells it.
    true_error : float, eV/Å, or None
        Mean error on the targets by the parent's true forces, if these are known.
    test_error : float, eV/Å, or None
        Mean error in the test chunks, if there are any.
    bound : Bound or None
        Of forces; None if there is none.
    largest_bound : float, eV/Å
        Stated uncertainty (99 %) of the most uncertain atom of the targets.
    relaxed_bound : float, eV/Å, or None
        Likewise where their relaxations ended; None where there are none, or no bounds of them.
    outside : int or None
        Atoms of the targets outside what there are labels of.
    advice : str
        What to do next, in a sentence; `RUN` stands for the folder of the run, `NAME` for its name.
    command : str
        What to type: one of nearsight's.
    subject : str or None
        What it was asked of; None: the target as given.
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("relaxed_bound", "subject")

    FORMAT: ClassVar[str] = "nearsight-verdict"
    FILE: ClassVar[str] = "verdict.json"

    use: Use
    findings: list[Finding]
    expected: ExpectedError | None
    true_error: FiniteFloat | None
    test_error: FiniteFloat | None
    bound: Bound | None
    largest_bound: Annotated[FiniteFloat, Field(ge=0)]
    relaxed_bound: Annotated[FiniteFloat, Field(ge=0)] | None = None
    outside: NonNegativeInt | None
    advice: str
    command: Annotated[str, Field(pattern="^nearsight ")]
    subject: str | None = None

    @property
    def headline(self) -> str:
        """The use in a few words."""
        return HEADLINES[self.use].format(subject=self.subject or TARGET)

    @property
    def limiting(self) -> list[Finding]:
        """Findings that leave no more demanding use; none where all do."""
        return [each for each in self.findings if each.allows == self.use != USES[-1]]

    @property
    def error_sentence(self) -> str:
        """The expected error and the true one, as far as they are known."""
        found = []
        if self.expected is not None:
            found.append(expected_sentence(self.expected))
        if self.true_error is not None:
            found.append(f"true error {figure(1000 * self.true_error)} meV/Å on average")
        if self.test_error is not None:
            found.append(f"error in test chunks {figure(1000 * self.test_error)} meV/Å")
        return "; ".join(found) or "nothing tells the error of the forces"

    @property
    def bound_sentence(self) -> str:
        """The bounds of the most uncertain atom, and what they rest on."""
        bound = self.bound
        if bound is None or not bound.is_known:
            labels, images = (0, 0) if bound is None else (bound.labels, bound.images)
            return (
                f"uncertainty not calibrated yet: {count_noun(labels, 'force')} in "
                f"{count_noun(images, 'structure')} that the members did not know ({FEWEST} in "
                f"{FEWEST_IMAGES} are needed)"
            )
        common = bound.factor * bound.floor  # of all atoms that are neither uncommon nor outside
        same = bound.is_constant and self.largest_bound <= common * (1.0 + 1e-9)
        kind = ", the same for all atoms" if same else ""
        where = ""
        if self.relaxed_bound is not None:
            relaxed = _both(bound, self.relaxed_bound, "")
            where = f"{',' if same else ''} in {TARGET}, {relaxed} where its relaxation ended"
        return (
            f"error of an atom at most {_both(bound, self.largest_bound, ' meV/Å')}{kind}{where}; "
            f"from {bound.labels} forces in {bound.images} structures that the members did not know"
        )

    @property
    def sentences(self) -> list[str]:
        """On the error, where it is asked for or known, and on the bounds."""
        told = self.subject is None or self.expected is not None
        return [self.error_sentence, self.bound_sentence] if told else [self.bound_sentence]

    def lines(self, run: str | Path) -> list[str]:
        """The verdict as a terminal shows it, for the folder of the run."""
        why = [finding.sentence for finding in self.limiting]
        return [
            f"{self.headline}.",
            *(f"  because {sentence}" for sentence in why),
            *(f"  {sentence}" for sentence in self.sentences),
            f"Next: {self.next_step(run)}",
            f"  {self.next_command(run)}",
        ]

    def next_step(self, run: str | Path) -> str:
        """The advice for the folder of the run."""
        return _with_run(self.advice, run)

    def next_command(self, run: str | Path) -> str:
        """The command for the folder of the run, as a shell takes it."""
        words = (_with_run(word, run) for word in shlex.split(self.command))
        return shlex.join(normpath(word) if "/.." in word else word for word in words)


def _both(bound: Bound, stated: float, unit: str) -> str:
    """A 99 % bound and the 95 % bound beside it, in meV/Å."""
    low, high = (figure(1000 * each) for each in (float(bound.beside(stated)), stated))
    return f"{high}{unit} (99 %) or {low} (95 %)"


def _with_run(text: str, run: str | Path) -> str:
    """Text for the folder of the run; what is to lie beside it does so for "." and "..", too."""
    path = Path(run)
    named = path.name not in ("", "..")
    name = path.name if named else path.resolve().name
    beside = str(run) if named else str(Path("..", run, name))
    text = re.sub(rf"{RUN}((/\.\.)+)/", lambda up: _above(run, up[1]), text)
    for ending in ("-", ".toml"):
        text = text.replace(RUN + ending, beside + ending)
    return text.replace(RUN, str(run)).replace(NAME, name)


def _above(run: str | Path, up: str) -> str:
    """What names begin with in a folder above that of the run."""
    folder = normpath(f"{run}{up}")
    return "" if folder == "." else f"{folder}/"


def expected_sentence(expected: ExpectedError) -> str:
    """An expected error, its range, and what it rests on."""
    low, high = (figure(1000 * each) for each in (expected.low, expected.high))
    reach = f" ({low} to {high})" if expected.images > 1 else ""
    source = "validation structure" if expected.source == "validation" else "out-of-bag chunk"
    return (
        f"expected error {figure(1000 * expected.mean)} meV/Å on average{reach}, "
        f"{figure(100 * expected.relative, 2)} % of the typical force; from "
        f"{count_noun(expected.forces, 'force')} in {count_noun(expected.images, source)}"
    )
