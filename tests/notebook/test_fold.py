from __future__ import annotations

from event_lists import answer, events, rich, token, whole

from mesh_nb.notebook._fold import File, Note, Reasoning, Text, ToolCall, fold


def blocks(run: list) -> list:
    return [b for s in fold(run).sections for b in s.blocks]


def test_blocks_come_in_the_order_they_began():
    assert [type(b) for b in blocks(rich())] == [Reasoning, ToolCall, Text, File]


def test_tool_call_is_folded_from_its_three_events():
    call = blocks(rich())[1]
    assert (call.name, call.arguments, call.status) == ("weather", {"city": "Paris"}, "ok")
    assert call.output[0] == {"day": "Mon", "high": 21}


def test_a_server_may_number_the_calls_of_every_round_anew():
    def round_of(result: int) -> list:
        call = {"tool_call_id": "0", "tool_name": "add"}
        return [
            ("tool_call_start", "llm", {"metadata": call}),
            ("tool_call_complete", "llm", {"output": result, "metadata": {**call, "status": "ok"}}),
        ]

    run = whole(*round_of(1), *round_of(2))
    assert [(b.name, b.output) for b in blocks(run)] == [("add", 1), ("add", 2)]
    assert fold(run).tool_calls == 2


def test_citation_is_marked_after_the_words_it_covers():
    view = fold(rich())
    assert view.sections[0].blocks[2].text == "Paris\ue0001\ue001 is **mild**."
    assert [(s.number, s.url) for s in view.sources] == [(1, "https://example.org/paris")]


def test_marks_count_in_the_unit_of_the_provider():
    text = "é\U0001f600 here"
    for unit, end in (("code_point", 2), ("utf8_byte", 6), ("utf16", 3)):
        source = {"url": "https://a.b", "start": 0, "end": end, "offset_unit": unit}
        run = whole(token(text), ("source", "llm", {"metadata": {"sources": [source]}}))
        assert blocks(run)[0].text == "é\U0001f600\ue0001\ue001 here", unit


def test_a_source_without_a_place_is_marked_at_the_end_and_one_nobody_cited_has_no_number():
    sources = [
        {"url": "https://read.example", "kind": "result"},
        {"url": "https://cited.example", "start": 0, "end": 0, "kind": "cited"},
        {"url": "https://cited.example", "kind": "cited"},
    ]
    run = whole(token("Answer."), ("source", "llm", {"metadata": {"sources": sources}}))
    view = fold(run)
    assert view.sections[0].blocks[0].text == "Answer.\ue0001\ue001"
    assert [(s.number, s.title) for s in view.sources] == [
        (1, "https://cited.example"),
        (0, "https://read.example"),
    ]


def test_a_model_cannot_forge_a_mark():
    assert blocks(whole(token("\ue0007\ue001")))[0].text == "7"


def test_each_message_is_a_block_of_its_own_even_with_the_same_block_id():
    run = whole(*answer("one", text_block_id="0"), *answer("two", text_block_id="0"))
    assert [b.text for b in blocks(run)] == ["one", "two"]


def test_concurrent_nodes_get_a_section_each():
    view = fold(events(token("a", "x"), token("1", "y"), token("b", "x"), token("2", "y")))
    assert [(s.node_id, s.blocks[0].text) for s in view.sections] == [("x", "ab"), ("y", "12")]


def test_visits_of_a_loop_get_a_section_each():
    view = fold(events(token("a"), token("b", visit=1)))
    assert [(s.visit, s.blocks[0].text) for s in view.sections] == [(0, "a"), (1, "b")]


def test_a_retry_keeps_what_it_replaced_apart():
    run = whole(
        *answer("half"),
        ("node_retry", "llm", {"error": "dropped", "metadata": {"attempt": 1}}),
        *answer("full"),
    )
    view = fold(run)
    assert [(s.discarded, s.blocks[0].text) for s in view.sections] == [(True, "half"), (False, "full")]
    assert view.text == "full"


def test_failure_and_partial_text_are_both_there():
    run = events(
        ("execution_start", "START"),
        token("half an answ"),
        ("node_error", "llm", {"error": "The connection dropped."}),
        ("execution_error", "START", {"error": "The connection dropped.", "metadata": {"status": "failed"}}),
    )
    view = fold(run)
    assert view.sections[0].blocks == [Text("half an answ"), Note("The connection dropped.", failure=True)]
    assert (view.status, view.says_failure) == ("failed", True)


def test_usage_adds_up_and_unknown_counters_stay_absent():
    call = ("response_metadata", "llm", {"metadata": {"usage": {"completion_tokens": 5}, "model_id": "m"}})
    view = fold(whole(call, call))
    assert dict(view.usage) == {"completion_tokens": 10}
    assert view.cost_usd is None


def test_partial_runs_fold_at_every_length():
    run = rich()
    for length in range(len(run)):
        fold(run[:length])
    assert fold(run[:5]).status == "running"


def test_lone_surrogates_do_not_break_the_output():
    assert blocks(whole(token("a\ud83d")))[0].text == "a\ufffd"


def test_text_without_a_block_id_begins_anew_after_another_part():
    tool = {"metadata": {"tool_name": "t", "tool_call_id": "1"}}
    run = whole(token("before"), ("tool_call_start", "llm", tool), token("after"))
    assert [type(b) for b in blocks(run)] == [Text, ToolCall, Text]
