#!/usr/bin/env python3
"""SI 8.4, "Active learning": nearsighted force training of a particle of 260 platinum atoms.

Step 4 of 4; needs chosen.extxyz and symmetry_functions.json of the steps before, and takes half a
minute on one core. Run again after a stop it continues; best.json is the ensemble of the best
iteration, and iteration-NNN/ what the SI's script keeps in "saved-info".

The rules for choosing chunks and for stopping, and the ten members, are those of the SI's script.
What differs:

- The parent is EMT instead of GPAW; with it go the networks (10 nodes twice instead of 5) and the
  chunk radius (6.5 instead of 8 Å), both from SI 7.2.
- The loss and its minimisation are nearsight's: α = 0.4 instead of 0.04, λ = 1e-6 instead of 0.001,
  and a fixed number of Levenberg-Marquardt iterations instead of up to 3000 epochs. With the SI's
  λ its own convergence criteria cannot be met, and an ensemble that stops at them improves little.
- Known chunks that stay among the most uncertain are drawn once more by every member.

The published EMT run (SI Fig. S7b) went on below 0.10 eV/Å: for that, lower stop_uncertainty.
"""

from ase import Atoms
from ase.cluster.octahedron import Octahedron

from nearsight import NFT, Parent, SymmetryFunctions
from nearsight.config import EnsembleSettings, NetworkSettings, NFTSettings, TrainingSettings
from nearsight.structures.images import read_images

particle = Octahedron("Pt", 8, 3, latticeconstant=3.99)
target = Atoms(particle.symbols, particle.positions)
target.rattle(stdev=0.1, seed=42)

training = NFT(
    NFTSettings(
        labels="center",  # the force on the centre of a chunk alone
        chunk_radius=6.5,  # Å; "cutoff" in the SI's script
        threshold=-0.8,  # the most uncertain fifth of the atoms
        first_chunks=len(target),  # no other limit, as in the SI
        chunks_per_iteration=len(target),
        max_chunks=len(target),
        environment="chunk",  # train on the chunks as cut
        stop_uncertainty=0.10,  # eV/Å; "stop_delta"
        max_iterations=20,
        steps_not_improved=2,
    ),
    NetworkSettings(hidden_layers=(10, 10)),
    TrainingSettings(tolerance=0.0),
    ensemble=EnsembleSettings(members=10),  # "n"
)
state = training.run(
    read_images("chosen.extxyz"),
    SymmetryFunctions.load("symmetry_functions.json"),
    target,
    Parent("emt", database="parent.db"),
    folder=".",
)
for step in state.history:
    print(
        f"iteration {step.iteration}: {len(step.chunk_indices)} chunks, "
        f"uncertainty {step.structure_uncertainty:.4f} eV/Å"
    )
print(f"best.json: iteration {state.best.iteration}; stopped because {state.stop_reason}")
