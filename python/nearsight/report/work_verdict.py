"""The verdict on retraining, a relaxation or dynamics: whether its frames are known."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from os.path import normpath
from pathlib import Path
from typing import Any

from nearsight.config import DynamicsSettings, RetrainingSettings
from nearsight.files.names import round_folder
from nearsight.files.records import Bounds, Finding, Verdict
from nearsight.files.records.verdict import RUN, USES
from nearsight.learning.learner import FAILED
from nearsight.progress import count_noun
from nearsight.report.configuration import RunConfiguration
from nearsight.report.next_step import STEPS_MORE, Step, verify
from nearsight.report.verdict import BOUND, ERROR, Limits, allowed, of_training, part, uncalibrated
from nearsight.report.work import WorkData

__all__ = ["judge_work"]

OUTSIDE: Limits = (0.05, 0.2, 0.5)
"""Largest part of the frames with an atom outside what there are labels of."""
UNKNOWN = "FOLDER"
"""Stands for the folder of a run that is not known."""
COMPARE = Step(
    "nothing tells the error of an imported potential: compare it with labels of your own",
    f"nearsight evaluate {RUN}/before.json LABELLED.xyz",
)
SUBJECT = {
    "dynamics": "frames like these",
    "frames": "these frames",
    "relaxation": "the relaxation's frames",
}


def judge_work(data: WorkData) -> Verdict:
    """Whether the potential knows the frames it was asked for, and what to do next."""
    findings = list(_findings(data))
    use = min((finding.allows for finding in findings), key=USES.index)
    limiting = {each.key for each in findings if each.allows == use != USES[-1]}
    if use == USES[0] and "misfit" in limiting:
        limiting = {"labels"}
    advice, command = _next(data, limiting)
    bounds = _bounds(data)
    return Verdict(
        use=use,
        findings=findings,
        expected=None if data.iteration is None else data.iteration.expected,
        true_error=None,
        test_error=None,
        bound=None if bounds is None else bounds.forces,
        largest_bound=_largest_bound(data),
        outside=data.series.outside,
        advice=advice,
        command=command,
        subject=SUBJECT[data.kind],
    )


def _bounds(data: WorkData) -> Bounds | None:
    return None if data.ensemble is None else data.ensemble.bounds


def _largest_bound(data: WorkData) -> float:
    """Of all frames, eV/Å; where they have raw uncertainties only, by the calibration."""
    largest, bounds = float(data.series.uncertainty.max()), _bounds(data)
    if data.series.stated or bounds is None or not bounds.forces.is_known:
        return largest
    return float(bounds.forces.of(largest))


def _findings(data: WorkData) -> Iterator[Finding]:
    series, typical, record = data.series, data.typical, data.iteration
    bounds = _bounds(data)
    if record is not None and record.expected is not None:
        name = "the expected error of a force"
        yield part("error", name, record.expected.mean, record.expected.typical, ERROR)
        yield from of_training(record, record.expected.typical)
    if bounds is None or not bounds.forces.is_known:
        yield uncalibrated(bounds)
    elif not series.stated:
        sentence = "the frames were written by an earlier version, without their bounds"
        yield Finding(key="earlier", allows="forces", value=0.0, sentence=sentence)
    else:
        name = "the uncertainty (99 %) of the most uncertain atom in nine of ten frames"
        yield part("bound", name, series.decisive, typical, BOUND)
    if series.outside is not None:
        frames = len(series.uncertainty)
        share = [f"{100 * limit:g} %" for limit in OUTSIDE]
        yield Finding(
            key="outside",
            allows=allowed(series.outside / frames, OUTSIDE),
            value=series.outside,
            sentence=f"{series.outside} of {count_noun(frames, 'frame')} have an atom outside what "
            f"there are labels of (dynamics up to {share[0]}, relaxation {share[1]}, forces "
            f"{share[2]})",
        )
    yield from _ends(data)


def _ends(data: WorkData) -> Iterator[Finding]:
    """Findings on relaxations and dynamics that did not come to their end."""
    if data.kind == "relaxation":
        broken = [path.broken for path in data.paths if path.broken]
        stuck = sum(not path.converged for path in data.paths) - len(broken)
        for reason in broken:
            sentence = f"the relaxation breaks off: {reason}"
            yield Finding(key="convergence", allows="none", value=1.0, sentence=sentence)
        if stuck > 0:
            sentence = f"{stuck} of {count_noun(len(data.paths), 'relaxation')} did not converge"
            yield Finding(key="convergence", allows="forces", value=stuck, sentence=sentence)
    if data.dynamics is not None and not data.dynamics.is_done:
        yield Finding(
            key="end",
            allows="relaxation",
            value=float(data.dynamics.frames.time[-1]),
            sentence=f"the dynamics ended before their last step: {data.dynamics.ended}",
        )


def _is_out_of_time(data: WorkData) -> bool:
    """Whether the dynamics ended because of ``max_hours``."""
    return data.dynamics is not None and data.dynamics.ended.startswith("the time of")


# -- what to do next


def _next(data: WorkData, limiting: set[str]) -> Step:
    if _is_imported(data) and not _is_out_of_time(data):
        return COMPARE
    place, configuration = _run(data)
    run = shlex.quote(place)
    if data.retraining is not None and FAILED in data.retraining.stop_reason:
        return Step(
            "see on what the parent failed, and why; once failures.json of the run is moved away, "
            "the same command asks it again",
            f"nearsight status {run}",
        )
    if data.dynamics is not None and not data.dynamics.is_done and not _learns(data):
        return _next_dynamics(data, run, limiting or {"time"})
    if "calibration" in limiting:
        setting = "validation_chunks = 3, or more, under [nft]"
        advice, file = configuration.copy_to("validated", setting, place)
        more = f"more labels that no member knows are needed; {advice}"
        return Step(more, f"nearsight run {shlex.quote(file)}")
    if limiting == {"convergence"} and not any(path.broken for path in data.paths):
        ended = f"{RUN}/{round_folder(data.folder, data.best).name}/path.traj@-1"
        return Step(
            "relax further from where the steps were used up",
            f"nearsight relax {RUN}/best.json {ended} -o {RUN}-relaxed.extxyz",
        )
    if "labels" in limiting:
        return verify(configuration.database(place))
    if data.dynamics is not None:
        return _next_dynamics(data, run, limiting)
    return _next_frames(data, run, bool(limiting))


def _learns(data: WorkData) -> bool:
    """Whether there was a parent to ask."""
    return data.source is not None and data.source.learns


def _is_imported(data: WorkData) -> bool:
    """Whether the potential is one of another program, which has no run."""
    return data.ensemble is not None and "imported" in data.ensemble.provenance


def _run(data: WorkData) -> tuple[str, RunConfiguration]:
    """The run, from where the folder of the work lies; a placeholder where it is not known."""
    source = data.source
    path = None if source is None else source.path
    if source is not None and path is not None and not source.learns:
        path = str(Path(path).parent)  # of the ensemble
        path = path if (data.folder / path / "config.toml").exists() else None
    if path is None:
        return UNKNOWN, RunConfiguration(Path(UNKNOWN), None)
    folder = Path(normpath(data.folder.absolute() / path))
    named = normpath(Path(path, "..", folder.name))
    return f"{RUN}/{named}", RunConfiguration.of(folder)


def _next_frames(data: WorkData, run: str, limited: bool) -> Step:
    retraining = data.retraining
    assert retraining is not None  # else dynamics
    start = f"{RUN}/{round_folder(data.folder, 0).name}/path.traj"
    ended = f"{RUN}/{round_folder(data.folder, data.best).name}/path.traj@-1"
    if not limited:
        if data.kind == "relaxation":
            return Step(
                "run dynamics from the relaxed structure; they stop where the potential becomes "
                "uncertain",
                f"nearsight md {RUN}/best.json {ended}",
            )
        return Step(
            "use it: energies, forces and bounds of the frames",
            f"nearsight evaluate {RUN}/best.json {start} -o evaluated.extxyz",
        )
    settings = dict(retraining.settings)
    settings["max_chunks"] = STEPS_MORE * int(settings["max_chunks"])
    settings["chunks"] = STEPS_MORE * int(settings["chunks"])
    options = _options(settings, RetrainingSettings().model_dump())
    return Step(
        "learn more of the frames, with a larger budget; the labels that are there cost nothing "
        "again",
        f"nearsight retrain {run} --frames {start} --workdir {RUN}-more{options}",
    )


def _next_dynamics(data: WorkData, run: str, limiting: set[str]) -> Step:
    motion = data.dynamics
    assert motion is not None
    settings, defaults = dict(motion.settings), DynamicsSettings().model_dump(mode="json")
    command = "md" if data.source is None else data.source.command
    learns = _learns(data)
    source = run if learns else f"{RUN}/before.json"
    if data.seed:
        settings["seed"] = data.seed
        defaults["seed"] = 0
    if limiting and _is_out_of_time(data):
        settings["max_hours"] = STEPS_MORE * float(settings["max_hours"])
        return Step(
            "the same with more time",
            f"nearsight {command} {source} {RUN}/md.traj@0 --workdir {RUN}-more"
            f"{_options(settings, defaults)}",
        )
    if not limiting:
        settings["final_temperature"] = None
        settings["temperature"] = motion.settings["final_temperature"] or settings["temperature"]
        return Step(
            "go on from the last frame, or use the potential for more of its kind",
            f"nearsight {command} {source} {RUN}/md.traj@-1 --workdir {RUN}-on"
            f"{_options(settings, defaults)}",
        )
    if not learns:
        return Step(
            "the same with the folder of the ensemble's run: its parent labels what is uncertain, "
            "and the dynamics go on",
            f"nearsight md {run} {RUN}/md.traj@0 --workdir {RUN}-learned"
            f"{_options(settings, defaults)}",
        )
    if motion.is_done:  # the budget was enough: more of it would change nothing
        lowered = []
        if limiting != {"outside"}:
            settings["threshold"] = float(f"{motion.threshold / STEPS_MORE:.3g}")
            lowered.append("threshold")
        if "outside" in limiting:
            grade = float(settings["max_extrapolation"]) / STEPS_MORE
            settings["max_extrapolation"] = float(f"{grade:.3g}")
            lowered.append("grade of extrapolation")
        return Step(
            f"the same with a lower {' and '.join(lowered)}, so that the parent is asked sooner; "
            "the labels that are there cost nothing again",
            f"nearsight {command} {source} {RUN}/md.traj@0 --workdir {RUN}-surer"
            f"{_options(settings, defaults)}",
        )
    settings["max_chunks"] = STEPS_MORE * int(settings["max_chunks"])
    settings["max_rounds"] = STEPS_MORE * int(settings["max_rounds"])
    return Step(
        "the same with a larger budget; the labels that are there cost nothing again",
        f"nearsight {command} {source} {RUN}/md.traj@0 --workdir {RUN}-more"
        f"{_options(settings, defaults)}",
    )


def _options(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Options of a command for the settings that are not the defaults."""
    found = [
        f" --{key.replace('_', '-')} {value}"
        for key, value in settings.items()
        if key in defaults and value is not None and value != defaults[key]
    ]
    return "".join(found)
