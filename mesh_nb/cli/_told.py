"""Trouble with a disk, and Ctrl-C, in one sentence that says what is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager

from ..core.errors import MeshError


def reason(error: OSError) -> str:
    """Return what an operating system said, with the file where it names one."""
    text = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    return f"{text}: {error.filename}" if error.filename else text


@contextmanager
def trouble(what: str, left: Callable[[], str]) -> Generator[None]:
    """Tell an OSError and a KeyboardInterrupt of what is done inside in a sentence.

    Parameters: what, that cannot be done; left, returns what is there after that.
    Raises MeshError for an OSError, KeyboardInterrupt with the second half.
    """
    try:
        yield
    except OSError as error:
        raise MeshError(f"{what}: {reason(error)}. {left()}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(left()) from None
