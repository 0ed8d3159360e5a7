"""rag: finds the passages that an answer needs; they become sources."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, cast

from ..core import tape, templates
from ..core.agent import described
from ..core.context import ExecutionContext, as_text
from ..core.errors import GraphValidationError, MeshError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.node import BaseNode
from ..core.tools import run_function
from ._index import Index
from ._kinds import NUMBER, SWITCH, TEXT, Kind, check_kinds
from ._taped import value_of

_METHODS = ("retrieve", "search", "ainvoke", "invoke")
_TEXT = ("text", "content", "page_content", "body")
CITED = 500
"""Characters of a passage that its source shows."""

_KINDS: dict[str, Kind] = {"query_template": TEXT, "text_column": TEXT, "min_score": NUMBER, "live": SWITCH}
_NEEDED = ("live",)


class RAGNode(BaseNode):
    """Searches for the question and hands the passages on, with the question, as text for a model.

    Parameters
    ----------
    documents : what is searched without a retriever, by BM25: texts, dicts, or a DataFrame with a row each.
        Fields are text (or content), title, url; others are kept. Rows without a text are left out.
    retriever : a function `(query)` or `(query, top_k)`, sync or async, or an object with `retrieve`,
        `search`, `ainvoke` or `invoke`. It returns passages: texts, dicts, or objects with `page_content`.
    query_template : what is searched for; None takes this node's input, as text.
    top_k : how many passages. min_score : of those that have a score, the lowest that counts.
    text_column : the column of a DataFrame that has the text.
    live : True asks the retriever even where a tape has what it found, see `mesh_nb.record`; a tape tells
        retrievers apart by the node and their function's or class's name.

    The output is `{"content", "formatted", "documents", "query", "count"}`: formatted are the numbered
    passages, content is these and the question.
    """

    kind = "rag"

    def __init__(
        self,
        id: str,
        documents: Any = None,
        *,
        retriever: Any = None,
        query_template: str | None = None,
        top_k: int = 5,
        min_score: float | None = None,
        text_column: str | None = None,
        live: bool = False,
    ) -> None:
        check_kinds(id, _KINDS, locals(), _NEEDED)
        super().__init__(id)
        if (documents is None) == (retriever is None):
            raise GraphValidationError(f"RAG node {id!r} needs documents or a retriever=, and not both.")
        number = cast("Any", top_k)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise GraphValidationError(f"RAG node {id!r}: top_k={shown(top_k)} is not 1 or more.")
        self.query_template, self.top_k, self.min_score = query_template, top_k, min_score
        self.templates = (query_template,) if query_template else ()
        self._live = live or retriever is None
        if retriever is not None:
            self._retrieve = _function(id, retriever)
        else:
            try:
                found = [_passage(d) for d in _rows(id, documents, text_column)]
            except MeshError as error:
                label = "" if isinstance(error, GraphValidationError) else f"RAG node {id!r}: "
                raise GraphValidationError(f"{label}{error}") from None
            if not found:
                raise GraphValidationError(f"RAG node {id!r} has no documents to search.")
            self._retrieve = _Search(found)

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Search; a source event for each passage. Raises what the retriever raises."""
        question = as_text(input) or context.question
        query = templates.resolve(self.query_template, context) if self.query_template else question
        if not query.strip():
            raise MeshError("There is nothing to search for: the input is empty.")
        marks: dict[str, Any] = {}
        passages = await self._passages(query, context.run_id, marks)
        if self.min_score is not None:
            passages = [p for p in passages if p.get("score") is None or p["score"] >= self.min_score]
        passages = passages[: self.top_k]
        if passages:
            sources = [_source(n, p) for n, p in enumerate(passages, 1)]
            yield ExecutionEvent(EventType.SOURCE, self.id, metadata={"sources": sources})
        lines = [
            f"[{n}] {p.get('title') or ''}".rstrip() + f"\n{p['text']}" for n, p in enumerate(passages, 1)
        ]
        formatted = "\n\n".join(["<CONTEXT>", *lines, "</CONTEXT>"]) if lines else ""
        output = {
            "content": f"{formatted}\n\n{question}".strip(),
            "formatted": formatted,
            "documents": passages,
            "query": query,
            "count": len(passages),
        }
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=output, metadata=marks)

    async def _passages(self, query: str, run_id: str, marks: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what is found, a retriever's from the tape that is on, and tell marks so. Raises what the
        retriever raises."""
        names = _parameters(self._retrieve)
        given: dict[str, Any] = {names[0]: query, **({names[1]: self.top_k} if len(names) > 1 else {})}

        async def work() -> list[dict[str, Any]]:
            found = await run_function(self._retrieve, given)
            if not isinstance(found, Iterable) or isinstance(found, (str, Mapping)):
                kind = type(found).__name__
                raise MeshError(f"The retriever returned {kind}; it returns a list of passages.")
            return [_passage(d) for d in cast("Iterable[Any]", found)]

        on = None if self._live else tape.current()
        if on is None:
            return await work()
        asked = {"retriever": described(self._retrieve), "node": self.id, "arguments": given}
        where = f"the retriever of node {self.id!r}"
        return await value_of(on, asked, where, work, run_id, metadata=marks)


class _Search:
    """A search over passages; the index is built when it is first used, in a thread."""

    def __init__(self, passages: list[dict[str, Any]]) -> None:
        self._passages = passages
        self._index: Index | None = None

    async def __call__(self, query: str, top_k: int) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._search, query, top_k)

    def _search(self, query: str, top_k: int) -> list[dict[str, Any]]:
        if self._index is None:
            self._index = Index([f"{p.get('title') or ''}\n{p['text']}" for p in self._passages])
        return [{**self._passages[n], "score": score} for n, score in self._index.search(query, top_k)]


_MISSING = ("NoneType", "NAType", "NaTType")


def _function(node_id: str, retriever: Any) -> Callable[..., Any]:
    for name in _METHODS:
        method = getattr(retriever, name, None)
        if callable(method):
            return method
    if callable(retriever):
        return retriever
    raise GraphValidationError(
        f"RAG node {node_id!r}: {shown(retriever)} is no retriever; pass a function of the query, or an"
        f" object with one of {', '.join(_METHODS)}."
    )


def _parameters(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    if not found:
        raise MeshError("The retriever takes no query: give it a parameter.")
    second = [p.name for p in found[1:] if p.name in ("top_k", "k", "limit", "n")]
    return [found[0].name, *second[:1]]


def _rows(node_id: str, documents: Any, column: str | None) -> list[Any]:
    columns = getattr(documents, "columns", None)
    if columns is None:
        if isinstance(documents, (str, Mapping)) or not isinstance(documents, Iterable):
            searches = callable(documents) or any(hasattr(documents, name) for name in _METHODS)
            hint = " Pass what searches as retriever=." if searches else ""
            raise GraphValidationError(
                f"RAG node {node_id!r}: documents are a list or a DataFrame, not {shown(documents)}.{hint}"
            )
        return list(cast("Iterable[Any]", documents))
    names = [str(c) for c in columns]
    if hasattr(documents, "__len__") and not len(documents):
        return []
    text = column or next((c for c in names if c.lower() in _TEXT), None)
    if text is None or text not in names:
        raise GraphValidationError(
            f"RAG node {node_id!r}: which of the columns {', '.join(map(repr, names))} has the text? Say so"
            " with text_column=."
        )
    rows = documents.to_dicts() if hasattr(documents, "to_dicts") else documents.to_dict(orient="records")
    named: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in rows]
    return [{**row, "text": row[text]} for row in named if not _is_missing(row[text])]


def _is_missing(value: Any) -> bool:
    """Say whether a cell is empty, as pandas and polars have it."""
    return value != value if isinstance(value, float) else type(value).__name__ in _MISSING


def _passage(given: Any) -> dict[str, Any]:
    """Return a passage as a dict with "text". Raises MeshError for what has none."""
    if isinstance(given, str):
        return {"text": given}
    if isinstance(given, Mapping):
        fields: dict[str, Any] = dict(cast("Mapping[str, Any]", given))
    else:
        fields = dict(getattr(given, "metadata", None) or {})
        fields |= {n: getattr(given, n) for n in (*_TEXT, "title", "url", "score") if hasattr(given, n)}
    text = next((fields[n] for n in _TEXT if fields.get(n) is not None), None)
    if text is None:
        raise MeshError(f"A passage has no text: {shown(given)}. Give it a field named text.")
    if "url" not in fields and "source" in fields:
        fields["url"] = fields["source"]
    return {**fields, "text": str(text)}


def _source(number: int, passage: dict[str, Any]) -> dict[str, Any]:
    source: dict[str, Any] = {"title": str(passage.get("title") or passage.get("url") or f"Passage {number}")}
    if passage.get("url"):
        source["url"] = str(passage["url"])
    return source | {"cited_text": passage["text"][:CITED], "kind": "cited"}


plugin = RAGNode
