"""The objects that models answered with (`output_type=`): a row for each."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd

from ..core.errors import InputError
from ..core.events import EventType, dumps, loads
from ._load import parts


def parsed_df(source: Any = None) -> pd.DataFrame:
    """Return a DataFrame with one row for each object that a run's answer holds; a list has one row an item.

    Parameters: source, nothing for all runs of this project; a Run, a run id, the path of a project or of one
    log, or a list of these.
    Columns are the fields, those of objects inside as "outer.inner"; values are those of the log, so dates
    are text. Where the run's own output has no object, those of all its nodes are shown. Raises InputError
    when there is none, RunNotFoundError for an unknown run id.
    """
    rows: list[Any] = []
    found = False
    for _, events in parts(source, EventType.NODE_COMPLETE, EventType.EXECUTION_COMPLETE):
        nodes: list[Any] = []
        last: list[Any] = []
        for event in events:
            output: Any = event.output
            if isinstance(output, dict) and cast("dict[str, Any]", output).get("parsed") is not None:
                kept = last if event.type == EventType.EXECUTION_COMPLETE else nodes
                kept.append(loads(dumps(output["parsed"])))
        for value in last or nodes:
            found = True
            rows += cast("list[Any]", value) if isinstance(value, list) else [value]
    if not found:
        raise InputError("There is no parsed answer: give an llm node an output_type= and run it again.")
    records = [row if isinstance(row, dict) else {"value": row} for row in rows]
    return pd.json_normalize(cast("list[dict[str, Any]]", records))


plugin = parsed_df
