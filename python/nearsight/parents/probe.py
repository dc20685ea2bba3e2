"""What a first calculation says about a parent that is not set up for the work."""

from __future__ import annotations

import re
from pathlib import Path

from nearsight.parents.codes import CODES
from nearsight.parents.tasks import Outcome

__all__ = ["complaint_of"]

NO_FORCES = r"forces not present|NotImplemented\w*: .*forces|PropertyNot\w+: .*forces"
NO_STRESS = r"it gives no stress"
NOT_FOUND = (
    r"error code 127\b|exit status 127\b|returned an error: 127\b"
    r"|FileNotFoundError: .*: '([^']*/)?[^'/.]+(\.x|\.exe)?'"
)
NOT_ALLOWED = r"error code 126\b|exit status 126\b|returned an error: 126\b|PermissionError: "
NO_COMMAND = r"set either command|No configuration of|Missing section"
NO_PSEUDOPOTENTIALS = (
    r"[Nn]o pseudopotential|pseudopotentials are expected|VASP_PP_PATH|readpp|\.UPF\b|\.psml\b"
    r"|species_dir|SPECIES_DIR|species directory"
)
NO_CELL = r"Singular matrix|[Nn]o cell|lattice vectors|[Zz]ero[- ]volume|cell volume is zero"
NO_MODULE = r"(ModuleNotFound|Import)Error: "


def complaint_of(name: str, structure: str, outcome: Outcome, folder: str | None) -> str:
    """What a parent lacks, and what to do, in a sentence; empty if nothing is known to be lacking.

    Parameters
    ----------
    name : str
        Of the calculator.
    structure : str
        What it was tried on, in words.
    outcome : dict
    folder : str, optional
        Where it was at work.
    """
    reason = outcome.get("failure") or outcome.get("lost", "")
    if not reason:
        return ""
    if folder is not None:
        reason = reason.replace(folder, ".../results")  # no place of programs
    said = _said_in(folder)
    missing = _missing(name, f"{reason} {said}".strip())
    if not missing:
        return ""
    return f"parent {name}: {missing}; the first calculation, {structure}, failed: {said or reason}"


def _missing(name: str, reason: str) -> str:
    if re.search(NO_FORCES, reason):
        return "it gives no forces" + _written(name, "forces", ": give {} among its arguments")
    if re.search(NO_STRESS, reason):
        return (
            "it gives no stress, which relaxing the initial cells needs: "
            + _written(name, "stress", "give {} among its arguments, or ")
            + "give cells of your own as initial.structures"
        )
    if re.search(NO_COMMAND, reason):
        return (
            "no command is configured that starts its program: give command among its arguments, "
            "or configure it in ASE"
        )
    if re.search(NOT_FOUND, reason):
        return (
            "its program is not found: correct its command, or have it found on PATH (with SLURM "
            "by setup in [executor])"
        )
    if re.search(NOT_ALLOWED, reason):
        return "its program may not be carried out: correct its command, or its permissions"
    if re.search(NO_PSEUDOPOTENTIALS, reason) or (
        _written(name, "pseudopotentials") and re.search(r"KeyError: '[A-Z][a-z]?'$", reason)
    ):
        return "pseudopotentials or species files are missing" + _written(
            name, "pseudopotentials", ": give {}"
        )
    if re.search(NO_CELL, reason):
        return (
            "it needs a cell: give the structures one in their file, large enough for what is not "
            "periodic"
        )
    if re.search(NO_MODULE, reason):
        return "its module cannot be imported where it is calculated: install it there"
    return ""


def _said_in(folder: str | None) -> str:
    """What Quantum ESPRESSO says in a file of its own when it stops; empty if there is none."""
    path = None if folder is None else Path(folder, "CRASH")
    if path is None or not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return " ".join(" ".join(line for line in lines if line.strip(" %")).split())


def _written(name: str, lacking: str, sentence: str = "{}") -> str:
    hint = CODES[name].hint(lacking) if name in CODES else ""
    return sentence.format(hint) if hint else ""
