"""The rag node: BM25 over texts and frames, retrievers of every form, sources."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest

from mesh_nb import Executor, GraphValidationError, MemoryBackend, NodeExecutionError, StateGraph

TEXTS = [
    "Octopuses have three hearts and blue blood.",
    "The giant squid has the largest eyes of all animals.",
    "Crabs walk sideways because of their joints.",
]


def graph(documents: Any = None, **options: Any) -> StateGraph:
    return StateGraph().add_node("find", documents, node_type="rag", **options).set_entry_point("find")


async def events_of(graph: StateGraph, input: Any = "How many hearts does an octopus have?") -> list[Any]:
    return [e async for e in Executor(graph).execute(input)]


async def test_texts_are_searched_at_once_and_become_sources() -> None:
    events = await events_of(graph(TEXTS))
    output = events[-1].output
    assert output["documents"][0]["text"] == TEXTS[0]
    assert output["content"].startswith(f"<CONTEXT>\n\n[1]\n{TEXTS[0]}")
    assert output["content"].endswith("</CONTEXT>\n\nHow many hearts does an octopus have?")
    [sources] = [e.metadata["sources"] for e in events if e.type == "source"]
    assert sources[0] == {"title": "Passage 1", "cited_text": TEXTS[0], "kind": "cited"}
    assert len(sources) == output["count"]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
async def test_a_frame_is_searched_by_its_text_column(make: Any) -> None:
    frame = make({"abstract": TEXTS, "title": ["o", "s", "c"], "url": [f"https://x/{n}" for n in range(3)]})
    events = await events_of(graph(frame, text_column="abstract", top_k=1), "sideways crab")
    [found] = events[-1].output["documents"]
    assert (found["title"], found["url"]) == ("c", "https://x/2")
    [sources] = [e.metadata["sources"] for e in events if e.type == "source"]
    assert sources[0]["url"] == "https://x/2"
    with pytest.raises(GraphValidationError, match="which of the columns 'abstract', 'title', 'url'"):
        graph(frame)


@pytest.mark.parametrize("query", ['") OR text:* --', "NEAR(a b)", "\"'*^-", "hearts AND ("])
async def test_a_question_is_never_read_as_query_language(query: str) -> None:
    output = (await events_of(graph(TEXTS), query))[-1].output
    assert output["query"] == query
    assert output["count"] == (1 if "hearts" in query else 0)


class Passage:
    page_content = "about hearts"
    metadata = {"source": "https://hearts", "page": 3}  # noqa: RUF012


class Retriever:
    async def ainvoke(self, query: str, config: Any = None) -> list[Passage]:
        return [Passage()]


def ranked(query: str, top_k: int) -> list[dict[str, Any]]:
    return [{"content": f"{query} {n}", "score": 1 - n / 10} for n in range(top_k)]


async def plain(query: str) -> list[str]:
    return [query.upper()]


async def test_retrievers_of_every_form() -> None:
    documents = (await events_of(graph(retriever=Retriever())))[-1].output["documents"]
    assert documents == [
        {
            "source": "https://hearts",
            "page": 3,
            "page_content": "about hearts",
            "text": "about hearts",
            "url": "https://hearts",
        }
    ]
    found = (await events_of(graph(retriever=ranked, top_k=3, min_score=0.85), "x"))[-1].output
    assert [d["text"] for d in found["documents"]] == ["x 0", "x 1"]
    asked = graph(retriever=plain, query_template="about {{$input.topic}}")
    assert (await events_of(asked, {"topic": "sea"}))[-1].output["documents"] == [{"text": "ABOUT SEA"}]


async def test_nothing_found_leaves_the_question() -> None:
    events = await events_of(graph(TEXTS), "zebra")
    assert events[-1].output["content"] == "zebra"
    assert [e for e in events if e.type == "source"] == []


@pytest.mark.parametrize(("returned", "says"), [(3, "returned int"), ([{"x": 1}], "has no text")])
async def test_retrievers_that_return_something_else(returned: Any, says: str) -> None:
    with pytest.raises(NodeExecutionError, match=says):
        await events_of(graph(retriever=lambda query: returned))


@pytest.mark.parametrize(
    ("documents", "options", "says"),
    [
        (None, {}, "needs documents or a retriever="),
        (TEXTS, {"retriever": plain}, "and not both"),
        ("one text", {}, "a list or a DataFrame"),
        ([], {}, "no documents to search"),
        (TEXTS, {"top_k": 0}, "top_k=0"),
        (None, {"retriever": 3}, "is no retriever"),
    ],
)
def test_what_cannot_be(documents: Any, options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        graph(documents, **options)


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        (lambda query: [], "documents are a list or a DataFrame, not .* Pass what searches as retriever="),
        (pd.DataFrame(), "has no documents to search"),
        ([1], "RAG node 'r': A passage has no text: 1. Give it a field named text"),
        ([{"title": "t"}], "RAG node 'r': A passage has no text"),
    ],
)
def test_what_cannot_be_searched_is_told_when_it_is_added(documents: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph().add_node("r", documents, node_type="rag")


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
async def test_rows_without_a_text_are_left_out(make: Any) -> None:
    frame = make({"text": [None, "boats float"], "title": ["Nothing", "Boats"]})
    graph = StateGraph().add_node("r", frame, node_type="rag").set_entry_point("r")
    run = await graph.run("nothing floats", backend=MemoryBackend())
    assert [p["title"] for p in run.output["documents"]] == ["Boats"]
