"""Energies of a folder of n2p2, by its documentation alone: nothing of nearsight is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list

from helpers import Array

CORES: dict[str, Callable[[Array], Array]] = {
    "0": np.ones_like,
    "1": lambda x: (1 + np.cos(np.pi * x)) / 2,
    "4": lambda x: np.exp(1 - 1 / (1 - x**2)),
    "5": lambda x: 1 + x**2 * (2 * x - 3),
    "6": lambda x: 1 + x**3 * (-10 + x * (15 - 6 * x)),
    "7": lambda x: 1 + x**4 * (-35 + x * (84 + x * (-70 + 20 * x))),
    "8": lambda x: 1 + x**5 * (-126 + x * (420 + x * (-540 + x * (315 - 70 * x)))),
}
COMPACT = {"e": "4", "p1": "5", "p2": "6", "p3": "7", "p4": "8"}
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"l": lambda z: z, "t": np.tanh}


def falls(core: str, x: Array) -> Array:
    inside = (x < 1).astype(float)
    return CORES[core](np.minimum(x, 1 - 1e-15).astype(np.longdouble)).astype(float) * inside


def bump(r: Array, low: float, high: float, core: str, asymmetric: bool = False) -> Array:
    x = np.abs(r - (low + high) / 2) / ((high - low) / 2)
    return falls(core, (2 - x) * x if asymmetric else x) * (x < 1)


class Function:
    """A line behind ``symfunction_short``, with what n2p2 sorts by."""

    def __init__(self, words: list[str], cutoff: tuple[str, float]) -> None:
        self.center, self.type = words[0], int(words[1])
        count = {2: 1, 3: 2, 9: 2, 20: 1, 21: 2, 22: 2}.get(self.type, 0)
        elements = sorted(words[2 : 2 + count], key=atomic_numbers.__getitem__)
        self.elements, rest = elements, words[2 + count :]
        z = [atomic_numbers[e] for e in elements]
        self.is_angular = self.type not in (2, 12, 20, 23)
        self.is_closed = self.type in (3, 13, 21, 24)
        if self.type >= 20:
            shape = rest.pop()
            low, rc, *angles = map(float, rest)
            core, bent = COMPACT[shape.removesuffix("a")], shape.endswith("a")
            self.rc = rc
            self.rho = lambda r: bump(r, low, rc, core, bent)
            self.turn = lambda c: bump(np.degrees(np.arccos(c)), *angles, core)
            self.order = (self.type, shape, *z, rc, low, *angles)
            return
        numbers = [float(word) for word in rest]
        r_s = 0.0
        if self.type in (2, 12):
            (eta, r_s, rc), gamma, zeta = numbers, 0.0, 0.0
        elif self.type == 13:
            eta, r_s, gamma, zeta, rc = numbers
        else:
            eta, gamma, zeta, rc, *last = numbers
            r_s = last[0] if last else 0.0
        kind, alpha = cutoff
        self.rc = rc

        def window(r: Array) -> Array:
            if kind in "23":
                most = 1.0 if kind == "2" else np.tanh(1.0) ** 3
                return np.tanh(1 - r / rc) ** 3 / most * (r < rc)
            return falls(kind, np.maximum(r - alpha * rc, 0) / (rc - alpha * rc))

        self.rho = lambda r: np.exp(-eta * (r - r_s) ** 2) * window(r)
        self.turn = lambda c: 2 ** (1 - zeta) * np.maximum(1 + gamma * c, 0) ** zeta
        angular = (zeta, gamma) if self.is_angular else ()
        self.order = (self.type, rc, eta, r_s, *angular, *z)

    def weight(self, *neighbours: str) -> float:
        if self.type in (12, 13, 23, 24, 25):
            return float(np.prod([atomic_numbers[each] for each in neighbours]))
        return float(sorted(neighbours, key=atomic_numbers.__getitem__) == self.elements)

    def value(self, vectors: Array, names: list[str]) -> float:
        r = np.linalg.norm(vectors, axis=1)
        rho = self.rho(r) * (r < self.rc)
        if not self.is_angular:
            return float(sum(self.weight(n) * f for n, f in zip(names, rho, strict=True)))
        total = 0.0
        for j in range(len(r)):
            for k in range(j):
                part = self.weight(names[j], names[k]) * rho[j] * rho[k]
                if part == 0.0:
                    continue
                apart = np.linalg.norm(vectors[j] - vectors[k])
                third = float(self.rho(apart)) * (apart < self.rc) if self.is_closed else 1.0
                cosine = np.clip(vectors[j] @ vectors[k] / (r[j] * r[k]), -1, 1)
                total += part * third * float(self.turn(cosine))
        return total


def energy(folder: Path, atoms: Atoms) -> float:
    """Of networks with tanh and features scaled by their range, in the units of the folder."""
    lines = [line.split("#")[0].split() for line in (folder / "input.nn").read_text().splitlines()]
    several = [words[1:] for words in lines if words and words[0] == "symfunction_short"]
    own = {words[1]: float(words[2]) for words in lines if words and words[0] == "atom_energy"}
    one = {words[0]: words[1:] for words in lines if words}
    kind, *alpha = one["cutoff_type"]
    functions = [Function(words, (kind, float(alpha[0]) if alpha else 0.0)) for words in several]
    low, high = (float(one[key][0]) for key in ("scale_min_short", "scale_max_short"))
    assert "scale_symmetry_functions" in one
    assert "center_symmetry_functions" not in one
    mean, conv_energy, conv_length = (
        float(one.get(key, [otherwise])[0])
        for key, otherwise in (("mean_energy", "0"), ("conv_energy", "1"), ("conv_length", "1"))
    )
    assert conv_length > 0  # functions and distances stay physical: of no effect
    statistics = np.loadtxt(folder / "scaling.data")
    total = 0.0
    i, j, vectors = neighbor_list("ijD", atoms, max(f.rc for f in functions))
    symbols = np.array(atoms.get_chemical_symbols())
    for index, element in enumerate(sorted(one["elements"], key=atomic_numbers.__getitem__), 1):
        mine = sorted((f for f in functions if f.center == element), key=lambda f: f.order)
        rows = statistics[statistics[:, 0] == index]
        assert rows[:, 1].tolist() == list(range(1, len(mine) + 1))
        file = folder / f"weights.{atomic_numbers[element]:03d}.data"
        numbers = np.loadtxt(file, usecols=0)
        for atom in np.flatnonzero(symbols == element):
            near = i == atom
            g = np.array([f.value(vectors[near], list(symbols[j[near]])) for f in mine])
            a = low + (high - low) * (g - rows[:, 2]) / (rows[:, 3] - rows[:, 2])
            begin = 0
            sizes = [*map(int, one["global_nodes_short"]), 1]
            for size, letter in zip(sizes, one["global_activation_short"], strict=True):
                end = begin + len(a) * size
                bias = numbers[end : end + size]
                a = ACTIVATIONS[letter](a @ numbers[begin:end].reshape(len(a), size) + bias)
                begin = end + size
            assert begin == len(numbers)
            total += float(a[0]) / conv_energy + mean + own.get(element, 0.0)
    return total
