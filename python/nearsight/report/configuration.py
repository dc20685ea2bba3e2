"""The configuration of a run as advice names it: a copy of it to change, its database."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from nearsight.config import Config
from nearsight.errors import InputError
from nearsight.files.records.verdict import NAME, RUN

__all__ = ["RunConfiguration"]


@dataclass(frozen=True)
class RunConfiguration:
    """What a run was given, and where that lies.

    Attributes
    ----------
    folder : Path
        Of the run. Names in the configuration start beside it.
    text : str or None
        Content of the file.
    """

    folder: Path
    text: str | None

    @classmethod
    def of(cls, folder: Path) -> RunConfiguration:
        """The configuration that is kept in the folder of a run."""
        kept = folder / "config.toml"
        text = kept.read_bytes().decode(errors="replace") if kept.exists() else None
        return cls(folder, text)

    def copy_to(self, name: str, setting: str, run: str = RUN) -> tuple[str, str]:
        """Advice to change a setting in a copy that shares the labels, and the file of the copy.

        Parameters
        ----------
        name : str
            What the name of the run is followed by; by a number, too, where that is taken.
        setting : str
            "KEY = VALUE under [SECTION]".
        run : str
            The folder of the run, as the advice is to name it.
        """
        file = f"{run}-{self._free(name)}.toml"
        given = f"{run}.toml" if self._beside("").exists() else f"{run}/config.toml"
        return f"copy {given} to {file}, and there set {setting}{self._sharing(run)}", file

    def _sharing(self, run: str) -> str:
        """What else a copy must set for the labels to be taken from where they are."""
        if self._database is not None:  # the copy has it as well
            return ""
        name = NAME if run == RUN else Path(run).name
        return (
            f', and database = "{name}/parent.db" under [parent], so that no label is calculated '
            "twice"
        )

    def database(self, run: str = RUN) -> str:
        """Where the labels are, for a command; ``run`` is the folder of the run."""
        place = self._database
        if place is None:
            return f"{run}/parent.db"
        path = Path(place).expanduser()
        return place if "://" in place else str(path) if path.is_absolute() else f"{run}/../{path}"

    @property
    def _database(self) -> str | None:
        try:
            return None if self.text is None else Config.parse(self.text).parent.database
        except InputError:  # of another version
            return None

    def _free(self, name: str) -> str:
        names = (name if number == 1 else f"{name}-{number}" for number in count(1))
        return next(each for each in names if not self._is_taken(f"-{each}"))

    def _is_taken(self, ending: str) -> bool:
        file = self._beside(ending)
        return file.exists() or file.with_suffix("").exists()

    def _beside(self, ending: str) -> Path:
        folder = self.folder.absolute()
        return folder.with_name(f"{folder.name}{ending}.toml")
