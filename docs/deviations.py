"""The figures of the table "Deviations from the paper" in theory.md.

    python docs/deviations.py --workdir deviations

runs the EMT case of ``examples/`` with one setting at a time changed, for three seeds, and fits one
member to the bulk cells in several ways. A quarter of an hour on two cores; finished runs in
``--workdir`` are read, not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import scipy.optimize

from nearsight import SymmetryFunctions, cur
from nearsight.config import Config, FeatureSettings
from nearsight.files.atomic import read_json
from nearsight.progress import LogProgress
from nearsight.run.run import Run
from nearsight.structures.images import read_images, read_structure
from nearsight.training.fit import initial_weights, levenberg_marquardt
from nearsight.training.preparation import prepare

EXAMPLE = Path(__file__).parents[1] / "examples" / "pt260_center.toml"
VARIANTS: dict[str, dict[str, dict[str, object]]] = {
    "as it is": {},
    'environment = "chunk"': {"nft": {"environment": "chunk"}},
    "force_coefficient = 0.04": {"training": {"force_coefficient": 0.04}},
    "l2 = 0.001": {"training": {"l2": 0.001}},
    "CUR with Amp's scaling": {"features": {}},
    "chunk_radius = 6.5": {"nft": {"chunk_radius": 6.5}},
    'chunk_radius = 6.5, environment = "chunk"': {
        "nft": {"chunk_radius": 6.5, "environment": "chunk"}
    },
}
SEEDS = (0, 1, 2)


def amp_scaled_functions(folder: Path, images: Path) -> Path:
    """The 21 functions that CUR picks when columns are scaled by their interquartile range."""
    path = folder / "amp_scaling.json"
    if not path.exists():
        candidates = SymmetryFunctions.candidates(("Pt",))
        features = [candidates.compute(image.atoms)["Pt"] for image in read_images(images)]
        chosen = cur(np.concatenate(features), 21)
        candidates.subset({"Pt": [int(i) for i in chosen]}).save(path)
    return path


def run(name: str, seed: int, folder: Path) -> dict[str, float]:
    """Carry out one variant and return the figures of its best iteration."""
    place = folder / f"{list(VARIANTS).index(name)}-seed{seed}"
    example = Config.load(EXAMPLE)
    sections = {key: getattr(example, key) for key in type(example).model_fields}
    sections |= {"seed": seed, "locality": None, "relaxation": None}
    for section, changes in VARIANTS[name].items():
        sections[section] = sections[section].model_copy(update=changes)
    if "features" in VARIANTS[name]:
        images = folder / f"0-seed{seed}" / "selected.extxyz"
        functions = amp_scaled_functions(folder, images).absolute()
        sections["features"] = FeatureSettings(symmetry_functions=functions)
    if not (place / "report.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        Run(Config(**sections), place, LogProgress(place / "run.log")).execute()
    report = read_json(place / "report.json")
    evaluation = read_json(place / f"iteration-{report['best_iteration']:03d}" / "evaluation.json")
    return report["iterations"][report["best_iteration"]] | evaluation


def fits(folder: Path) -> None:
    """One member on the bulk cells: what λ allows, and two minimisers from one start."""
    done = folder / "0-seed0"
    config = Config.load(EXAMPLE)
    functions = SymmetryFunctions.load(done / "symmetry_functions.json")
    images = read_images(done / "selected.extxyz")
    data = prepare(images, functions, config.network, [read_structure(done / "target.extxyz")])
    once = np.ones(len(images), dtype=np.int64)
    start = initial_weights(data, seed=0, member=0)

    for alpha, l2 in ((0.04, 1e-3), (0.04, 1e-6), (0.4, 1e-3), (0.4, 1e-6)):
        changed = config.training.model_copy(update={"force_coefficient": alpha, "l2": l2})
        quality = data.quality(levenberg_marquardt(data, start, once, changed, 200).weights)
        print(
            f"force_coefficient {alpha}, l2 {l2}: force RMSE {1e3 * quality.force_rmse:.2f} meV/Å"
        )

    energies, forces = data.weights(once, config.training.force_coefficient)
    l2 = config.training.l2

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        residual, jacobian = data.core.jacobian(weights, energies, forces)
        value = 0.5 * (residual @ residual) + 0.5 * l2 * (weights @ weights)
        return value, jacobian.T @ residual + l2 * weights

    for iterations in (25, 60, 300):
        fit = levenberg_marquardt(data, start, once, config.training, iterations)
        print(f"Levenberg–Marquardt, {iterations} iterations: loss {fit.loss:.3g}")
    for iterations in (300, 3000):
        found = scipy.optimize.minimize(
            loss, start, jac=True, method="BFGS", options={"maxiter": iterations, "gtol": 0.0}
        )
        print(f"BFGS, {found.nit} iterations: loss {found.fun:.3g}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    folder = parser.parse_args().workdir
    folder.mkdir(parents=True, exist_ok=True)
    print("variant, seed: chunks, MAE meV/Å, raw uncertainty eV/Å, force RMSE of the training")
    for name in VARIANTS:
        for seed in SEEDS:
            found = run(name, seed, folder)
            print(
                f"{name}, {seed}: {found['chunks']}, {1e3 * found['mae']:.2f}, "
                f"{found['structure_uncertainty']:.4f}, {1e3 * found['force_rmse']:.2f} meV/Å, "
                f"coverage {found['coverage']:.3f} raw {found['coverage_raw']:.3f}",
                flush=True,
            )
    fits(folder)


if __name__ == "__main__":
    main()
