"""Training of one member: to the paper's convergence criteria, and for the usual iterations.

    OMP_NUM_THREADS=1 python benchmarks/python/training.py [--run FOLDER]

takes the 20 bulk cells and the 28 symmetry functions that ``examples/pt260_emt.toml`` chooses, all
20 cells in the member's sample; with ``--run`` all images, chunks included, and the functions and
networks of a finished run instead, of several elements if you like. CPU time of one thread,
fingerprints apart: the smallest of ``--rounds``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from nearsight import Initialization, Parent, SymmetryFunctions
from nearsight.config import Config, TrainingSettings
from nearsight.selection.choose import choose_features, choose_images
from nearsight.structures.images import read_images, read_structure
from nearsight.training.dataset import Quality, TrainingData
from nearsight.training.fit import initial_weights
from nearsight.training.preparation import prepare

EXAMPLE = Path(__file__).parents[2] / "examples" / "pt260_emt.toml"
MOST_ITERATIONS = 200


def of_example() -> tuple[TrainingData, TrainingSettings]:
    """The bulk cells of the example, with the functions chosen there."""
    config = Config.load(EXAMPLE)
    initial = Initialization.of(config.initial, config.initial.elements or ())
    cells = initial.run(Parent.of(config.parent))
    images = [cells[i] for i in choose_images(cells, config.images.count)]
    target = read_structure(config.target.structure)
    seen = [target] if config.features.with_target else []
    functions = choose_features(images, config.features, seen).symmetry_functions
    return prepare(images, functions, config.network, [target]), config.training


def of_run(folder: Path) -> tuple[TrainingData, TrainingSettings]:
    """All images of a finished run."""
    config = Config.load(folder / "config.toml", begun=folder)
    images = list(read_images(folder / "selected.extxyz"))
    for path in sorted(folder.glob("iteration-*/chunks.extxyz")):
        images += read_images(path)
    functions = SymmetryFunctions.load(folder / "symmetry_functions.json")
    target = read_structure(folder / "target.extxyz")
    return prepare(images, functions, config.network, [target]), config.training


def meets_criteria(quality: Quality) -> bool:
    """Those of the paper's Supporting Information."""
    return (
        quality.energy_rmse <= 0.001
        and quality.force_rmse <= 0.005
        and quality.max_force_residual <= 0.020
    )


def cpu(call: Callable[[], object], rounds: int) -> float:
    """Smallest CPU seconds."""
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        taken.append(time.process_time() - begin)
    return min(taken)


def parts(console: Console, data: TrainingData, weights: tuple[np.ndarray, np.ndarray]) -> None:
    """What an iteration is made of; each call does the work of those before it as well."""
    at, core = initial_weights(data, 0, 0), data.core
    calls = {
        "residuals": core.residuals,
        "and their Jacobian J": core.jacobian,
        "and JᵀJ": core.curvature,
    }
    table = Table("at one point", "ms")
    for name, call in calls.items():
        table.add_row(name, f"{1e3 * cpu(partial(call, at, *weights), 30):.2f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of a finished run")
    parser.add_argument("--seeds", type=int, default=12, help="random starts")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    console = Console()

    data, settings = of_run(arguments.run) if arguments.run else of_example()
    weights = data.weights(np.ones(len(data.fingerprints), int), settings.force_coefficient)
    console.print(
        f"{len(data.fingerprints)} images, {len(data.core.residuals(start(data, 0), *weights))} "
        f"residuals, {data.core.n_weights} weights; networks {list(data.sizes.values())}"
    )
    parts(console, data, weights)

    for budget in (None, settings.initial_iterations):
        table = Table(
            "start", "iterations", "steps\ntried", "CPU s", "meV\n/atom", "meV/Å", "at most", "loss"
        )
        seconds = []
        for member in range(arguments.seeds):
            begin = start(data, member)
            count = budget or enough(data, begin, weights, settings.l2)
            if count is None:
                table.add_row(str(member), f"not in {MOST_ITERATIONS}")
                continue
            call = partial(data.core.levenberg_marquardt, begin, *weights, settings.l2, count)
            fitted, loss, iterations, trials = call()
            quality = data.quality(*data.core.predict(fitted))
            seconds.append(cpu(call, arguments.rounds))
            table.add_row(
                str(member),
                str(iterations),
                str(trials),
                f"{seconds[-1]:.3f}",
                f"{1e3 * quality.energy_rmse:.2f}",
                f"{1e3 * quality.force_rmse:.2f}",
                f"{1e3 * quality.max_force_residual:.1f}",
                f"{loss:.2e}",
            )
        if seconds:
            what = f"{budget} iterations" if budget else "to the paper's criteria"
            console.print(
                f"{what}: {statistics.median(seconds):.3f} s (median), "
                f"{min(seconds):.3f} to {max(seconds):.3f} s"
            )
        console.print(table)


def start(data: TrainingData, member: int) -> np.ndarray:
    return initial_weights(data, seed=0, member=member)


def enough(
    data: TrainingData, begin: np.ndarray, weights: tuple[np.ndarray, np.ndarray], l2: float
) -> int | None:
    """Iterations after which the criteria are met: a longer training begins as a shorter one."""
    for count in range(1, MOST_ITERATIONS + 1):
        fitted = data.core.levenberg_marquardt(begin, *weights, l2, count)[0]
        if meets_criteria(data.quality(*data.core.predict(fitted))):
            return count
    return None


if __name__ == "__main__":
    main()
