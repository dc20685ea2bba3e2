"""Folders of n2p2 with random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TWO_ELEMENTS = """\
# two functions of H, three of O, not in n2p2's order
elements O H   # their order is free
number_of_elements 2
cutoff_type 1
symfunction_short O 2 H 0.2 0.0 6.0
symfunction_short H 2 H 0.5 1.0 6.0
symfunction_short O 3 O H 0.01 -1.0 2.0 6.0
symfunction_short O 2 H 0.1 0.0 6.0
symfunction H 2 O 0.1 0.0 6.0
global_hidden_layers_short 1
global_nodes_short 2
global_activation_short t l
"""


def write_folder(place: Path, text: str = TWO_ELEMENTS, seed: int = 0) -> dict[int, list[float]]:
    """A folder with random numbers, and the weights by atomic number."""
    place.mkdir(exist_ok=True)
    (place / "input.nn").write_text(text)
    rng = np.random.default_rng(seed)
    rows = []
    for index, count in ((1, 2), (2, 3)):
        for row in range(1, count + 1):
            low, width, part = rng.uniform(0.1, 1, 3)
            values = [low, low + width, low + part * width, 0.3 * width]
            rows.append(f"{index} {row} " + " ".join(f"{v:.16E}" for v in values))
    (place / "scaling.data").write_text("# rows\n" + "\n".join(rows) + "\n-1.0 1.0\n")
    weights = {}
    for z, inputs in ((1, 2), (8, 3)):
        weights[z] = rng.normal(size=(inputs + 1) * 2 + 3).tolist()
        lines = "".join(f"{w:24.16E} a 1 0 1 1 1\n" for w in weights[z])
        (place / f"weights.{z:03d}.data").write_text("# c\n" + lines)
    return weights
