"""Small configurations, their input files, and comparison of what runs leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from helpers import copper
from nearsight.config import (
    CapacitySettings,
    Config,
    EnsembleSettings,
    FeatureSettings,
    ImageSettings,
    RelaxationSettings,
    TrainingSettings,
)
from nearsight.structures.images import write_images

TINY: dict[str, Any] = {
    "seed": 2,
    "target": {"structure": "particle.extxyz"},
    "initial": {"a0": 3.7, "minsep": 2.2, "space_groups": [225], "n_rattled": 3},
    "images": {"count": 5},
    "features": {"count": 8, "cutoff": 4.5},
    "network": {"hidden_layers": [4]},
    "training": {"initial_iterations": 10, "iterations": 5, "l2": 0.3},
    "ensemble": {"members": 3},
    "nft": {
        "chunk_radius": 6.5,
        "first_chunks": 3,
        "chunks_per_iteration": 3,
        "max_chunks": 6,
        "validation_chunks": 1,
    },
    "capacity": {
        "hidden_layers": [[3]],
        "l2": [0.01],
        "force_decay": [2.0],
        "members": 2,
        "iterations": 12,
    },
    "locality": {"radii": [4.0, 6.5], "atoms": [0, 7]},
    "relaxation": {"max_steps": 4, "with_parent": True, "on_uncertain": "warn"},
    "report": {"true_forces": True},
}
"""All stages, in a few seconds."""

GIVEN: dict[str, Any] = {
    "target": {"structure": "particle.extxyz"},
    "initial": {"structures": "cells.extxyz"},
    "images": {"count": 4},
    "features": {"symmetry_functions": "functions.json"},
    "network": {"hidden_layers": [3]},
    "training": {"initial_iterations": 3, "iterations": 2},
    "ensemble": {"members": 2},
    "nft": {
        "chunk_radius": 6.5,
        "first_chunks": 2,
        "chunks_per_iteration": 2,
        "max_chunks": 2,
        "validation_chunks": 0,
    },
}
"""A training with cells and symmetry functions of the user."""

FIGURES = [
    "iterations", "labels", "learning", "locality", "parity", "relaxation-energy",
    "relaxation-uncertainty", "uncertainty",
]  # fmt: skip
FILES = {
    "best.json", "comparison.json", "config.toml", "initial.extxyz", "locality.json", "parent.db",
    "reference.json",
    "relaxation-parent.traj", "relaxation.json", "relaxation.traj", "relaxed.extxyz", "report.html",
    "report.json", "run.json", "run.lock", "run.log", "selected.extxyz", "stages.json",
    "status.json", "symmetry_functions.json", "target.extxyz", "verdict.json",
    "iteration-000/ensemble.json", "iteration-000/evaluation.json",
    "iteration-001/chunks.extxyz", "iteration-001/ensemble.json", "iteration-001/evaluation.json",
    "iteration-002/chunks.extxyz", "iteration-002/ensemble.json", "iteration-002/evaluation.json",
    *(f"figures/{name}.png" for name in FIGURES),
}  # fmt: skip
"""Those of a run of `TINY`."""


def toml(value: Any) -> str:
    """A value in TOML, which differs from JSON in mappings only."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {toml(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def tiny_config(base: Mapping[str, Any] = TINY, **changes: Any) -> str:
    """TOML text of a small configuration.

    Parameters
    ----------
    base : mapping
        `TINY` or `GIVEN`.
    **changes
        Keys and sections that are changed or added; None removes a key or a section.
    """
    content = {**base}
    for name, change in changes.items():
        old = content.get(name, {})
        content[name] = {**old, **change} if isinstance(change, Mapping) else change
    lines = []
    for name, section in sorted(content.items(), key=lambda item: isinstance(item[1], Mapping)):
        if isinstance(section, Mapping):
            lines.append(f"[{name}]")
            lines += [
                f"{key} = {toml(value)}" for key, value in section.items() if value is not None
            ]
        elif section is not None:
            lines.append(f"{name} = {toml(section)}")
    return "\n".join(lines) + "\n"


def make_workplace(folder: Path, config: str = "", target: Atoms | None = None) -> Config:
    """Write ``nft.toml``, `tiny_config()` if no other text is given, and its target."""
    ase.io.write(folder / "particle.extxyz", target or copper.particle())
    (folder / "nft.toml").write_text(config or tiny_config())
    return Config.load(folder / "nft.toml")


def write_given(folder: Path) -> None:
    """Write the files that `GIVEN` names besides the target."""
    write_images(folder / "cells.extxyz", copper.cells())
    copper.functions().save(folder / "functions.json")


def files(folder: Path) -> set[str]:
    """Names of all files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def read(path: Path) -> Any:
    """Content of a JSON file."""
    return json.loads(path.read_text())


def without_times(content: Any) -> Any:
    """JSON content without durations, and digests of what holds them."""
    if isinstance(content, dict):
        return {
            key: without_times(value)
            for key, value in content.items()
            if key not in ("seconds", "seconds_parent", "seconds_total", "digest", "others")
        }
    if isinstance(content, list):
        return [without_times(value) for value in content]
    return content


def assert_same_results(found: Path, expected: Path) -> None:
    """All files agree, bit for bit where they hold no durations."""
    for name in FILES - {"parent.db", "run.lock", "run.log", "status.json", "report.html"}:
        if name.endswith(("stages.json", "evaluation.json", "run.json", "report.json")):
            assert without_times(read(found / name)) == without_times(read(expected / name)), name
        elif not name.startswith("figures/"):  # two of them show the times
            assert (found / name).read_bytes() == (expected / name).read_bytes(), name


CHUNKS = 4


def reduced(config: Config) -> Config:
    """Fewer cells, functions, members, chunks, models and steps; everything else as it was."""
    features = {
        "count": 16,
        "cutoff": 5.0,
        "angular_cutoff": None,
        "angular_count": None,
        "g2_eta": (0.5, 2.0, 5.0, 20.0, 50.0),
        "g2_r_s": (0.0, 2.0, 4.0),
        "g4_eta": (0.005,),
        "g4_zeta": (1.0, 4.0),
    }
    chunks = {
        "chunk_radius": 6.0,
        "first_chunks": CHUNKS,
        "max_chunks": CHUNKS,
        "validation_chunks": min(1, config.nft.validation_chunks),
    }
    given = FeatureSettings() if config.features.symmetry_functions else config.features
    return Config(
        seed=config.seed,
        target=config.target,
        parent=config.parent,
        initial=config.initial.model_copy(update={"space_groups": (79,), "n_rattled": 1}),
        images=ImageSettings(count=12),
        features=given.model_copy(update=features),
        network=config.network,
        training=TrainingSettings(initial_iterations=15, iterations=15),
        ensemble=EnsembleSettings(members=3),
        nft=config.nft.model_copy(update=chunks),
        capacity=CapacitySettings(
            hidden_layers=(), l2=(1e-4,), force_decay=(), members=2, iterations=5
        ),
        relaxation=RelaxationSettings(max_steps=2, on_uncertain="warn"),
        report=config.report,
    )
