"""Calls and their results as JSON, which is what engines and workers exchange.

Plain content in, plain content out: text, numbers, arrays, lists and dicts of them. Nothing is
imported that a file names, except the functions of `FUNCTIONS`. Floats keep every bit.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import math
import operator
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nearsight.errors import InputError, text_of

__all__ = [
    "BEGUN",
    "FUNCTIONS",
    "READY",
    "THREAD_VARIABLES",
    "WORKER",
    "CallError",
    "WorkerLost",
    "call_function",
    "call_text",
    "digest",
    "read_result",
]

FUNCTIONS = frozenset({"nearsight.parents.tasks:run_tasks", "nearsight.training.fit:train_member"})
"""Functions that a worker calls; it refuses all others."""

WORKER = "nearsight.executors.work"
"""Module that workers run."""

READY = "nearsight worker ready\n"
"""First line of a worker process."""

BEGUN = "\n"
"""Its line before a call, when all is imported."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables for the number of threads of numerical libraries."""

FORMAT = "nearsight-result"
KINDS = "biufcU"  # of arrays; others hold objects
MOST = 20_000  # characters of a traceback
MAX_LISTED = 3000
"""Larger arrays are base64: a third of the size of their digits, and ten times as quick."""


class WorkerLost(RuntimeError):
    """The process or job of a call vanished before the call returned; the message says how."""


class CallError(RuntimeError):
    """A call raised an exception in its worker: the type and text of it."""


class _RemoteTraceback(Exception):
    """Traceback in the worker; the cause of what is raised here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def call_text(fn: Callable[..., Any], args: Any, kwargs: Any) -> str:
    """Call of a function, in one line.

    Raises
    ------
    TypeError
        An argument that is not plain, or a function that workers do not call.
    """
    name = f"{fn.__module__}:{fn.__qualname__}"
    if name not in FUNCTIONS:
        raise TypeError(f"workers do not call {name}")
    content = {"function": name, "arguments": _encode(args), "keywords": _encode(kwargs)}
    return json.dumps(content, sort_keys=True, allow_nan=False)


def digest(call: str) -> str:
    """Digest of a call, which its result repeats."""
    return hashlib.sha256(call.encode()).hexdigest()


def call_function(call: str, report: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Carry out a call: a dict with its ``value`` or its ``error``, which JSON can write.

    ``report`` is called when all is imported and the call begins.
    """
    result: dict[str, Any] = {"format": FORMAT, "call": digest(call)}
    try:
        content = json.loads(call)
        name = content["function"]
        if name not in FUNCTIONS:
            raise InputError(f"workers do not call {name}")
        module, _, attribute = name.partition(":")
        function = operator.attrgetter(attribute)(importlib.import_module(module))
        arguments, keywords = _decode(content["arguments"]), _decode(content["keywords"])
        report()
        result["value"] = _encode(function(*arguments, **keywords))
    except Exception as error:
        result["error"] = {
            "type": type(error).__name__,
            "text": _said(error),
            "input": isinstance(error, InputError),
            "traceback": _trace(),
        }
    return result


def _said(error: BaseException) -> str:
    # that of the package's own errors is a sentence already, which may name a long path
    return str(error) if isinstance(error, InputError) else text_of(error)


def _trace() -> str:
    try:
        return traceback.format_exc()[-MOST:].encode(errors="backslashreplace").decode()
    except Exception:  # what formats it asks the exception for its words
        return ""


def read_result(text: str | bytes, call: str) -> Any:
    """Value that a call returned.

    Parameters
    ----------
    text : str or bytes
        What `call_function` gave, as JSON.
    call : str
        Digest of the call.

    Raises
    ------
    ValueError
        Text that is not the result of this call.
    InputError, CallError
        The call raised an exception.
    """
    try:
        content = json.loads(text, parse_constant=_refuse)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"not of format {FORMAT!r}")
        if content.get("call") != call:
            raise ValueError("of another call")
        if "error" not in content:
            return _decode(content["value"])
        error = content["error"]
        kind, message, usual, trace = (error[k] for k in ("type", "text", "input", "traceback"))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as damage:
        raise ValueError(f"{type(damage).__name__}: {damage}") from damage
    words = " ".join(f"{kind}: {message}".removesuffix(": ").split())
    raise (InputError(message) if usual is True else CallError(words)) from _RemoteTraceback(trace)


def _encode(value: Any) -> Any:
    """Plain content as strict JSON has it; what that lacks is a dict with one key that has a $."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, list | tuple):
        return [_encode(each) for each in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        content = {key: _encode(each) for key, each in value.items()}
        return {"$dict": content} if any(key.startswith("$") for key in content) else content
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in KINDS:
        return {"$array": [value.dtype.str, list(value.shape), _elements(np.asarray(value))]}
    raise TypeError(f"arguments and results of a call must be plain, got {type(value).__name__}")


def _elements(array: np.ndarray[Any, Any]) -> Any:
    listed = array.dtype.kind in "biuU" or (array.dtype.kind == "f" and np.isfinite(array).all())
    if listed and array.size <= MAX_LISTED:
        return array.ravel().tolist()
    return base64.b64encode(array.tobytes()).decode()


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return float(value["$float"])
    if "$dict" in value:
        return {key: _decode(each) for key, each in value["$dict"].items()}
    if "$array" in value:
        return _array(*value["$array"])
    return {key: _decode(each) for key, each in value.items()}


def _array(name: str, shape: list[int], elements: Any) -> Any:
    if not re.fullmatch(f"[<>|][{KINDS}][0-9]+", name):
        raise ValueError(f"an array of {name}")
    dtype = np.dtype(name)
    if isinstance(elements, str):
        array = np.frombuffer(bytearray(base64.b64decode(elements, validate=True)), dtype)
    else:
        array = np.array(elements, dtype)
    return array.reshape(shape)[()]  # of a scalar, itself


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
