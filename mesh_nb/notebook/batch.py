"""One model or graph over many inputs: `batch("gpt-5-mini", df["question"])`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from ..core._named import named_options
from ..core.budget import Budget, Unpriced
from ..core.cache import cache_of
from ..core.compiled import CompiledGraph, Runnable
from ..core.errors import InputError, shown
from ..core.executor import Executor
from ..core.interrupts import Policy, check_policy
from ..core.runner import check_options, start
from ._batch import Batch, begin
from ._batch_inputs import Inputs, read
from ._of_model import of_model

__all__ = ["Batch", "batch"]

CONCURRENCY = 8


@named_options
def batch(
    model: Any,
    inputs: Any,
    *,
    prompt: str | None = None,
    files: str | None = None,
    concurrency: int = CONCURRENCY,
    variables: dict[str, Any] | None = None,
    backend: Any = None,
    display: bool | None = None,
    background: bool = False,
    on_no_answer: Policy = "stop",
    timeout: float | None = None,
    max_failures: int | None = None,
    budget_usd: float | None = None,
    unpriced: Unpriced = "refuse",
    cache: Any = True,
    **options: Any,
) -> Batch:
    """Run a model or a graph once for each input, several at a time, and return the Batch, started and shown.

    answers = await mesh.batch("gpt-5-mini", df, prompt="Is this a complaint? {{text}}", output_type=Verdict)
    df.join(answers.to_pandas())

    Parameters
    ----------
    model : a model name, a graph, or a dict of llm options.
    inputs : a list, a Series, or a mapping from labels to inputs, each as for `graph.run`; or a table of
        pandas, polars or pyarrow, whose rows are dicts.
    prompt : what is asked, with `{{column}}` for a value of the row, where a missing one is empty text, and
        `{{input}}` where inputs have no columns.
    files : the column of the table that holds what is attached: a path, bytes, a picture, or a list of them,
        as for `graph.run(files=)`; a missing value attaches nothing.
    concurrency : how many runs go on at the same time.
    variables, backend, display, background, on_no_answer : as for `graph.run`.
    timeout, max_failures : seconds for each run, and after how many failed runs no further ones begin.
    budget_usd, unpriced : US dollars that all runs may spend together: as many begin at once as their mean
        cost lets expect to fit, and what was sent is not cut off; "allow" lets calls of unknown price pass.
    cache : True takes answers of the same calls from `.mesh/cache`, so that the cell, run again, asks only
        for what is missing, failed or changed, and once for what is there twice; "7d" those that are no
        older; False asks for all.
    options : options of the llm node (system_prompt, output_type, temperature, ...), none for a graph.

    `await` waits for all of them. One that fails does not stop the others; a refused key, a model that is
    not there, no credit, a missing setting and a spent budget do, and the batch's `error` says so. Raises,
    before anything is asked, InputError for no inputs, one that is missing or has no text, UnknownNameError
    for a column that is not there, and what `graph.run` raises.
    """
    graph, is_graph = _graph(model, options), isinstance(model, Runnable)
    over = read(inputs, prompt, is_graph, files)
    _check_options(concurrency, max_failures, variables, backend)
    given: dict[str, Any] = {"on_no_answer": check_policy(on_no_answer), "timeout": timeout}
    given["cache"] = cache_of(cache)
    _check(graph, over, given)
    given |= {"budget": Budget.of(budget_usd, None, None, unpriced, "stop"), "display": False}
    run = functools.partial(start, graph, variables=variables, backend=backend, **given)
    once = cache is not False and not is_graph
    made = Batch(over, run, concurrency, max_failures, background, once, backend, budget_usd)
    return begin(made, display is not False)


def _check(graph: CompiledGraph, over: Inputs, given: dict[str, Any]) -> None:
    """Raise what a run of the first input would raise before it begins."""
    first = {} if over.files is None else {"files": over.files[0]}
    Executor(graph).start(over.items[0], **given, **first)  # it begins when it is iterated


def _check_options(concurrency: Any, max_failures: Any, variables: Any, backend: Any) -> None:
    check_options(variables, backend)
    _check_count("concurrency", concurrency)
    if max_failures is not None:
        _check_count("max_failures", max_failures)


def _check_count(name: str, number: Any) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError(f"{name}={shown(number)} is not a whole number above 0.")


def _graph(model: Any, options: dict[str, Any]) -> CompiledGraph:
    if isinstance(model, Runnable):
        if options:
            raise InputError(
                f"batch() of a graph takes no {next(iter(options))}=: such options belong to its nodes."
            )
        return model.compile()
    own = {"model": model} if isinstance(model, str) else model
    if not isinstance(own, Mapping):
        raise InputError(f"batch() takes a model name, a graph or a dict of options, not {shown(model)}.")
    return of_model(batch, {**cast("Mapping[str, Any]", own), **options})
