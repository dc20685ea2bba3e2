"""``input.nn`` of n2p2 and RuNNer: keywords, and the shape of the networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from ase.data import atomic_numbers

from nearsight.errors import InputError, plain_text
from nearsight.structures.text_files import Line, number, read_lines, whole_number

__all__ = ["ACTIVATIONS", "Settings", "Shape"]

ACTIVATIONS = {
    "l": "linear",
    "t": "tanh",
    "s": "sigmoid",
    "p": "softplus",
    "r": "relu",
    "g": "gaussian",
    "c": "cosine",
    "S": "reversed_sigmoid",
    "e": "exponential",
    "h": "square",
}
"""Those of n2p2, by the letter it has for them."""

ALIASES = {
    "symfunction": "symfunction_short",
    "nnp_generation": "nnp_type",
    "nnp_type_gen": "nnp_type",
    "nnp_gen": "nnp_type",
}
SEVERAL = {
    "symfunction_short",
    "atom_energy",
    "element_hidden_layers_short",
    "element_nodes_short",
    "element_activation_short",
}
"""Keywords of which every line counts; another may stand once."""

SHORT_RANGE = ("0", "2", "2G", "2G-HDNNP", "HDNNP_2G")
LONG_RANGE = {
    "use_electrostatics": "charges",
    "electrostatic_type": "charges",
    "use_fixed_charges": "charges",
    "fixed_charge": "charges",
    "fixed_gausswidth": "charges",
    "global_nodes_electrostatic": "charges",
    "global_nodes_charge": "charges",
    "use_vdw": "dispersion",
    "vdw_type": "dispersion",
}
NOT_READ = (
    "global_symfunction_short",
    "element_symfunction_short",
    "element_pairsymfunction_short",
    "global_pairsymfunction_short",
    "nn_type",
    "nn_type_short",
    "use_atom_charges",
)
PAIR_TYPES = {"nn_type": "1", "nn_type_short": "1"}
"""The values of these that mean atomic networks."""


@dataclass(frozen=True)
class Shape:
    """Nodes and activations of the network of an element, without its inputs."""

    nodes: tuple[int, ...]
    activations: tuple[str, ...]


@dataclass
class _Layers:
    nodes: list[int | None]
    activations: list[str | None]


@dataclass(frozen=True)
class Settings:
    """Keywords of ``input.nn`` with the lines that hold them.

    Attributes
    ----------
    path : Path
    lines : dict of str to list of Line
        Words behind the keyword.
    """

    path: Path
    lines: dict[str, list[Line]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, text: str | None = None) -> Settings:
        """Read a file, or the text that is to become it.

        Raises
        ------
        InputError
            If it cannot be read, or describes what has no short range.
        """
        found = cls(path)
        for place, words in read_lines(path, text):
            key = ALIASES.get(words[0], words[0])
            found.lines.setdefault(key, []).append(Line(place, words[1:]))
        if "number_of_elements" not in found.lines or "elements" not in found.lines:
            raise InputError(f"{path}: not an input.nn (no number_of_elements, no elements)")
        found._check_kind()
        return found

    def __contains__(self, key: str) -> bool:
        return key in self.lines

    def all(self, key: str) -> list[Line]:
        """The lines of a keyword that may stand several times."""
        return self.lines.get(key, [])

    def line(self, key: str, least: int = 1) -> Line:
        """The line of a keyword that must stand, with that many words at least."""
        if key not in self:
            raise InputError(f"{self.path}: no {key}")
        lines = self.lines[key]
        if len(lines) > 1 and key not in SEVERAL:
            raise lines[1].error(f"{key} stands twice")
        if len(lines[0].words) < least:
            raise lines[0].error(f"{key} needs {least} value{'s' * (least > 1)}")
        return lines[0]

    def number(self, key: str, otherwise: str | None = None) -> Fraction:
        """The value of a keyword."""
        if otherwise is not None and key not in self:
            return Fraction(otherwise)
        line = self.line(key)
        return number(line.words[0], line)

    def element(self, line: Line, word: str) -> str:
        """One of the elements."""
        if word not in self.elements:
            raise line.error(f"{plain_text(word, 20)!r} is not one of the elements")
        return word

    @property
    def elements(self) -> tuple[str, ...]:
        """In their order in the file."""
        line, count = self.line("elements"), self.line("number_of_elements")
        found = tuple(line.words)
        unknown = [plain_text(each, 20) for each in found if each not in atomic_numbers]
        if unknown or "X" in found:
            raise line.error(f"{(unknown or ['X'])[0]!r} is no element")
        if len(set(found)) != len(found):
            raise line.error("an element stands twice")
        if whole_number(count.words[0], count) != len(found):
            raise count.error(f"{count.words[0]} elements, but {len(found)} are named")
        return found

    def shape(self, element: str) -> Shape:
        """The network of an element, as n2p2 2.3.0 sets it up.

        ``element_nodes_short`` leaves the last hidden layer as the global one, and
        ``element_activation_short`` the output: n2p2's loops end one layer early.
        """
        line = self.line("global_hidden_layers_short")
        count = hidden = whole_number(line.words[0], line, 100)
        for each in self._of("element_hidden_layers_short", element):
            count = whole_number(each.words[1] if len(each.words) > 1 else "", each, 100)
        layers = _Layers([None] * count + [1], [None] * (count + 1))
        if count == hidden:
            self._set_global(layers, hidden)
        for each in self._of("element_nodes_short", element):
            given = self._values(each, count)
            layers.nodes[: count - 1] = [whole_number(word, each) for word in given[: count - 1]]
        for each in self._of("element_activation_short", element):
            given = self._values(each, count + 1)
            layers.activations[:count] = [_activation(word, each) for word in given[:count]]
        nodes = tuple(each for each in layers.nodes if each)
        activations = tuple(each for each in layers.activations if each)
        if len(nodes) != count + 1 or len(activations) != count + 1:
            raise InputError(
                f"{self.path}: a layer of the network of {element} has no nodes or no activation "
                "(n2p2 takes those of its last hidden layer and its output from global_... alone)"
            )
        return Shape(nodes, activations)

    def _set_global(self, layers: _Layers, hidden: int) -> None:
        if "global_nodes_short" in self:
            line = self.line("global_nodes_short")
            if len(line.words) != hidden:
                raise line.error(f"expected {hidden} numbers, one for every hidden layer")
            layers.nodes[:hidden] = [whole_number(word, line) for word in line.words]
        if "global_activation_short" in self:
            line = self.line("global_activation_short")
            if len(line.words) != hidden + 1:
                raise line.error(f"expected {hidden + 1} letters, hidden layers and output")
            layers.activations[:] = [_activation(word, line) for word in line.words]

    def _of(self, key: str, element: str) -> list[Line]:
        return [
            each
            for each in self.all(key)
            if each.words and self.element(each, each.words[0]) == element
        ]

    @staticmethod
    def _values(line: Line, count: int) -> list[str]:
        values = list(line.words[1:])
        if len(values) != count:
            raise line.error(f"expected {count} values behind the element")
        return values

    def _check_kind(self) -> None:
        if "nnp_type" in self and self.line("nnp_type").words[0] not in SHORT_RANGE:
            line = self.line("nnp_type")
            kind = plain_text(line.words[0], 20)
            raise line.error(
                f"a potential of type {kind} has charges or a long range (4G, Q); only those of "
                "type 2G are read"
            )
        for key, what in LONG_RANGE.items():
            if key in self and self.lines[key][0].words[:1] != ["0"]:
                raise self.lines[key][0].error(
                    f"{key}: potentials with {what} are not read, only short-range ones"
                )
        for key in NOT_READ:
            if key in self and self.lines[key][0].words[:1] != [PAIR_TYPES.get(key)]:
                raise self.lines[key][0].error(f"RuNNer's {key} is not read, nor does n2p2 read it")


def _activation(word: str, line: Line) -> str:
    if word not in ACTIVATIONS:
        raise line.error(
            f"unknown activation {plain_text(word, 20)!r}, expected one of {' '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[word]
