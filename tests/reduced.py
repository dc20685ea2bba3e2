"""A configuration made small: every stage is gone through, in a second or two."""

from __future__ import annotations

from nearsight.config import (
    Config,
    EnsembleSettings,
    ImageSettings,
    RelaxationSettings,
    TrainingSettings,
)

CHUNKS = 4


def reduced(config: Config) -> Config:
    """Fewer cells, functions, members, chunks and steps; everything else as it was."""
    features = {
        "count": 16,
        "cutoff": 5.0,
        "g2_eta": (0.5, 2.0, 5.0, 20.0, 50.0),
        "g2_r_s": (0.0, 2.0, 4.0),
        "g4_eta": (0.005,),
        "g4_zeta": (1.0, 4.0),
    }
    chunks = {"chunk_radius": 6.0, "chunks_per_iteration": CHUNKS, "max_chunks": CHUNKS}
    return Config(
        seed=config.seed,
        target=config.target,
        parent=config.parent,
        initial=config.initial.model_copy(update={"space_groups": (79,), "n_rattled": 1}),
        images=ImageSettings(count=12),
        features=config.features.model_copy(update=features),
        network=config.network,
        training=TrainingSettings(initial_iterations=15, iterations=15),
        ensemble=EnsembleSettings(members=3),
        nft=config.nft.model_copy(update=chunks),
        relaxation=RelaxationSettings(max_steps=2),
        report=config.report,
    )
