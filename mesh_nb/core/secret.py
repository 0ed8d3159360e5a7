"""Texts that are written nowhere: `mesh_nb.secret`."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus

from .errors import InputError, shown
from .events import dumps, loads

SHORTEST = 3
"""Characters of the shortest text that can be hidden: a shorter one is in every other."""

_T = TypeVar("_T")


class Marked:
    """What is marked in this process.

    `texts` are the texts, in all forms in which they are written; `values` whole JSON values. `version`
    changes when something is added.
    """

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.values: list[Any] = []
        self.version = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self.version > 0

    def add(self, texts: Iterable[str], value: Any = None) -> None:
        """Add texts, and a whole dict or list."""
        found = {form for text in texts for form in _forms(text)}
        with self._lock:
            self.texts |= found
            if value and value not in self.values:
                self.values.append(value)
            self.version += 1


marked = Marked()


def secret(value: _T) -> _T:
    """Mark texts that must not be written anywhere, and return them as they are.

    patient = mesh_nb.secret(record["name"])
    run = await graph.run(f"Write a letter to {patient}.")

    Models, tools and the program get the value. Wherever mesh_nb writes, in this process and from now on,
    each of the texts is `***`: in tapes, logs, the cache, live views and saved outputs, lines about runs, the
    messages of errors and log records. It is found by its exact words, in JSON and in URLs too. What the
    program prints itself, as in `print(run.text)`, or sends with an SSEAdapter, is not changed. A run whose
    log hides what it began with or what a node gave can be resumed, forked or reused only where it ran.

    Parameters: value, a text; or a list, a tuple, a dict or a column of texts, at any depth.
    Raises InputError for a value without a text, or with one of less than 3 characters.
    """
    texts = list(_texts(value))
    if not texts:
        raise InputError(f"secret() marks texts, and {shown(value)} has none.")
    for text in texts:
        if len(text) < SHORTEST:
            raise InputError(f"A text of {len(text)} characters cannot be secret: it is in too many others.")
    marked.add(texts)
    return value


def mark_result(result: Any) -> None:
    """Mark what a tool with `secret=True` returned: every text in it, and the whole as a model is told it."""
    value = loads(dumps(result))
    whole = value if isinstance(value, str) else dumps(value).decode()
    texts = [text for text in (whole, *_texts(value)) if len(text) >= SHORTEST and text.strip("*")]
    marked.add(texts, value if isinstance(value, (dict, list)) else {"output": value})


def blank(value: Any) -> Any:
    """Return a JSON value of the same shape that says nothing."""
    if isinstance(value, dict):
        return {key: blank(inside) for key, inside in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [blank(inside) for inside in cast("list[Any]", value)]
    return value if value is None or isinstance(value, bool) else "***"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        return
    if isinstance(value, Mapping):
        inside: Any = cast("Mapping[Any, Any]", value).values()
    elif hasattr(value, "tolist"):  # a Series, an array
        inside = value.tolist()
    elif hasattr(value, "to_list"):  # a Series of polars
        inside = value.to_list()
    else:
        inside = value if isinstance(value, (list, tuple, set, frozenset)) else ()
    for one in inside if isinstance(inside, Iterable) and not isinstance(inside, str) else (inside,):
        yield from _texts(one)


def _forms(text: str) -> set[str]:
    """Return a text as it is written: by itself, in JSON, in a URL."""
    inside = {json.dumps(text)[1:-1], dumps(text).decode()[1:-1]}
    return {text, *inside, quote(text, safe="", errors="replace"), quote_plus(text, errors="replace")}


class Hiding(logging.Filter):
    """Hides what is marked in log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the message of a record that tells a secret."""
        if marked:
            from ._scrub import hidden

            said = record.getMessage()
            if (clean := hidden(said)) != said:
                record.msg, record.args = clean, None
            if record.exc_info and not record.exc_text:
                record.exc_text = hidden(logging.Formatter().formatException(record.exc_info))
        return True


logging.getLogger("mesh_nb").addFilter(Hiding())
