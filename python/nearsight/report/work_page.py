"""The report of retraining, a relaxation or dynamics in a folder of its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from nearsight.files.atomic import write_json, write_text
from nearsight.files.records import Verdict
from nearsight.progress import count_noun
from nearsight.report.page import environment, page_script, write_figures
from nearsight.report.simulation_figures import (
    dynamics_figure,
    frames_figure,
    learned_figure,
    retraining_figure,
)
from nearsight.report.verdict import told
from nearsight.report.work import WorkData, summary
from nearsight.report.work_verdict import judge_work

__all__ = ["write_work_report"]


def write_work_report(folder: str | Path) -> Path:
    """Write ``report.html``, ``report.json``, ``verdict.json`` and ``figures/*.png``.

    Parameters
    ----------
    folder : path
        Of a retraining, a relaxation that learned, or dynamics.

    Returns
    -------
    path of the page

    Raises
    ------
    InputError
        See `WorkData.load`.
    """
    folder = Path(folder)
    data = WorkData.load(folder)
    verdict = judge_work(data)
    rounds = [_round(data, number) for number in range(len(data.learned))]
    drawn = write_figures(folder, _figures(data))
    name = folder.absolute().name
    uncertainty: dict[str, float | None] = {
        "nine_of_ten": data.series.decisive,
        "largest": float(data.series.uncertainty.max()),
        "nine_of_ten_before": data.first.decisive,
        "largest_before": float(data.first.uncertainty.max()),
    }
    if not data.has_spread:
        uncertainty = dict.fromkeys(uncertainty)
    content = {
        "kind": data.kind,
        "command": None if data.source is None else data.source.command,
        "frames": len(data.series.uncertainty),
        "uncertainty": {"stated": data.series.stated, **uncertainty},
        "outside": data.series.outside,
        "outside_before": data.first.outside,
        "typical": data.typical,
        "rounds": rounds,
        "ended": _ended(data),
        "verdict": told(verdict, name),
    }
    write_json(folder / "report.json", content)
    verdict.save(folder / Verdict.FILE)
    page = folder / "report.html"
    write_text(page, _page(data, drawn, verdict, rounds, name))
    return page


def _page(
    data: WorkData,
    drawn: dict[str, Figure],
    verdict: Verdict,
    rounds: list[dict[str, Any]],
    name: str,
) -> str:
    templates = environment(drawn)
    script, digest = page_script()
    record = data.dynamics or data.retraining
    assert record is not None  # one of the two
    return templates.get_template("work.html").render(
        data=data,
        verdict=verdict,
        name=name,
        place=shlex.quote(name),
        rounds=rounds,
        noun="chunk" if all(each.chunks for each in data.learned) else "geometry",
        summary=_ended(data),
        why=_why_nothing(data),
        has_ensemble=(data.folder / "best.json").exists(),
        settings=record.settings,
        script=script,
        digest=digest,
    )


def _round(data: WorkData, number: int) -> dict[str, Any]:
    """Figures of a round, and what led to it."""
    learned = data.learned[number]
    if data.dynamics is not None:
        found = data.dynamics.rounds[learned.round - 1]
        time = data.dynamics.round_times[learned.round - 1]
        because = f"{time:g} ps: {found.reason}"
    else:
        assert data.retraining is not None  # one of the two
        harvest = data.retraining.rounds[learned.round].harvest
        because = "–" if harvest is None else f"{harvest.kept} of {harvest.frames}"
    return {**summary(learned), "because": because}


def _ended(data: WorkData) -> str:
    """How it ended, in a sentence."""
    if data.dynamics is not None:
        motion, frames = data.dynamics, data.dynamics.frames
        if not data.has_spread:
            return (
                f"The dynamics ended: {motion.ended}. One member alone does not tell which frames "
                "can be trusted."
            )
        most = float(motion.settings.get("max_extrapolation", 1.0))
        trusted = frames.max_uncertainty < motion.threshold
        if frames.extrapolation is not None:
            trusted &= frames.extrapolation <= most
        return (
            f"The dynamics ended: {motion.ended}. On the way "
            f"{count_noun(len(motion.rounds), 'retraining')} with "
            f"{count_noun(motion.chunks, 'chunk')}. Of {count_noun(len(frames.time), 'frame')} "
            f"{int(trusted.sum())} are trusted: the uncertainty (raw) is below "
            f"{1000 * motion.threshold:.3g} meV/Å, and no atom of a grade above {most:g}."
        )
    retraining = data.retraining
    assert retraining is not None  # one of the two
    kept = f"that after round {retraining.best}" if retraining.best else "the one before any round"
    return (
        f"The ensemble in best.json is {kept}. Retraining ended because {retraining.stop_reason}."
    )


def _why_nothing(data: WorkData) -> str:
    """The reason why nothing was labelled."""
    if data.retraining is not None:
        return data.retraining.stop_reason
    if data.source is not None and not data.source.learns:
        return "an ensemble alone has no parent to ask"
    return "no frame was so uncertain that the dynamics had to stop"


def _figures(data: WorkData) -> Iterator[tuple[str, Figure]]:
    if data.dynamics is not None:
        times = data.dynamics.round_times
        yield "frames", frames_figure(data.first, time=data.dynamics.frames.time, retrained=times)
        yield "dynamics", dynamics_figure(data.dynamics)
    else:
        yield "frames", frames_figure(data.first, data.series if data.best else None)
        if data.kind == "relaxation" and data.retraining is not None:
            yield "retraining", retraining_figure(data.retraining)
    if data.learned:
        yield "labels", learned_figure(data.learned)
