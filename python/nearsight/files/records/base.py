"""Base of all records, and the arrays in them."""

from __future__ import annotations

from numbers import Real
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    GetPydanticSchema,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import core_schema

from nearsight.errors import DamagedFileError
from nearsight.files.atomic import check_header, content_digest, parse_json, write_json
from nearsight.reading import read_file

__all__ = ["Part", "Record", "Seconds", "array_of", "check_lengths"]

R = TypeVar("R", bound="Record")

MAX_INTEGER = 2.0**53
"""Whole numbers up to this are exact as floating-point numbers."""


class Part(BaseModel):
    """Part of a record. Two are equal if a file would hold the same of them."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    LEFT_OUT: ClassVar[tuple[str, ...]] = ()
    """Keys that a file does not hold where they are None."""

    @model_serializer(mode="wrap")
    def _leave_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {k: v for k, v in content.items() if v is not None or k not in self.LEFT_OUT}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        assert isinstance(other, Part)
        return self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]


class Record(Part):
    """Content of one kind of JSON file of a run; keys stand in the order of the fields."""

    FORMAT: ClassVar[str]
    VERSION: ClassVar[int] = 1
    """The newest that is read."""
    FILE: ClassVar[str]
    """Usual name of the file."""
    IS_DIGESTED: ClassVar[bool] = False
    """Whether its file holds a digest of its content, for kinds that no other checksum covers."""

    @property
    def version(self) -> int:
        """Version of the file that is written."""
        return self.VERSION

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Read a file of `save`.

        Raises
        ------
        InputError
            If the file is missing, of another kind, or from a newer version of nearsight.
        DamagedFileError
            If it is truncated, corrupted or incomplete, or another content has its digest. (Files
            of earlier versions have none.)
        """
        content = read_file(path)
        parsed = check_header(parse_json(content, path), path, cls.FORMAT, cls.VERSION)
        if cls.IS_DIGESTED and parsed.get("digest") not in (None, _digest(parsed)):
            raise DamagedFileError(
                f"{path}: changed or damaged: its digest is that of another content"
            )
        try:
            # from the text: strict about kinds, and yet lists may be tuples and text may be a time
            return cls.model_validate_json(content, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            reason = " ".join(first["msg"].removeprefix("Value error, ").split())
            reason = f"{key}: {reason[:1].lower()}{reason[1:]}" if key else reason
            raise DamagedFileError(f"{path}: incomplete or damaged ({reason})") from error

    def save(self, path: str | Path, sync: bool = True) -> None:
        """Write the JSON file, whole or not at all; see `write_json`."""
        content = {"format": self.FORMAT, "version": self.version} | self.model_dump()
        if self.IS_DIGESTED:
            content["digest"] = _digest(content)
        write_json(path, content, sync)


def _digest(content: dict[str, Any]) -> str:
    """Checksum of all of a file but its digest."""
    return content_digest({key: value for key, value in content.items() if key != "digest"})


Seconds = Annotated[FiniteFloat, Field(ge=0, le=1e12)]
"""A time; sums of them are finite."""


def _are_numbers(value: object) -> bool:
    """Whether nested lists hold numbers (or null) alone: true and "1" are none."""
    if isinstance(value, list | tuple):
        return all(map(_are_numbers, value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iufO"
    return value is None or (isinstance(value, Real) and not isinstance(value, bool | np.bool_))


def array_of(dtype: type, *shape: int | None, gaps: bool = False) -> GetPydanticSchema:
    """Annotation of a finite array, nested lists in a file.

    Parameters
    ----------
    dtype : type
        ``float`` or ``int``.
    shape : int or None
        Size of each dimension; None: any.
    gaps : bool
        Whether a file may hold null in the place of a number, which is NaN in the array.
    """
    text = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"

    def convert(value: object) -> npt.NDArray[Any]:
        try:
            if not _are_numbers(value):
                raise TypeError
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise ValueError(f"expected numbers of shape {text}") from None
        if array.shape == (0,):  # an empty list does not know its other dimensions
            array = array.reshape([size or 0 for size in shape])
        if array.ndim != len(shape) or any(
            size not in (None, actual) for size, actual in zip(shape, array.shape, strict=True)
        ):
            raise ValueError(f"expected shape {text}, found {array.shape}")
        if np.isinf(array).any() or (np.isnan(array).any() and not gaps):
            raise ValueError("expected finite numbers only")
        if dtype is int and (array != np.rint(array)).any():
            raise ValueError("expected whole numbers")
        if dtype is int and (np.abs(array) > MAX_INTEGER).any():
            raise ValueError("expected smaller numbers")
        return array.astype(dtype)

    def to_lists(array: npt.NDArray[Any]) -> Any:
        if not gaps:
            return array.tolist()
        known = array.astype(object)
        known[np.isnan(array)] = None  # JSON has no NaN
        return known.tolist()

    schema = core_schema.no_info_plain_validator_function(
        convert, serialization=core_schema.plain_serializer_function_ser_schema(to_lists)
    )
    return GetPydanticSchema(lambda source, handler: schema)


Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Vector = Annotated[Array, array_of(float, None)]
Vectors = Annotated[Array, array_of(float, None, 3)]


def check_lengths(expected: int, **arrays: npt.NDArray[Any] | None) -> None:
    """Raise a ValueError for an array that has another number of entries."""
    for name, array in arrays.items():
        if array is not None and len(array) != expected:
            name = name.replace("__", ".")
            raise ValueError(f"{name} has {len(array)} entries, expected {expected}")
