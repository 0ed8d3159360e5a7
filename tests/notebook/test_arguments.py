from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from mesh_nb.notebook._arguments import Request, attachment, parse, variable
from mesh_nb.notebook.magics import MeshMagics


def read(line: str) -> Request:
    return parse(MeshMagics.mesh.parser, line)


def test_every_option_in_both_spellings():
    assert read("") == Request()
    assert read("-m demo -g g -o r -s s1 --system 'Be brief.' --background --raw") == Request(
        "demo", "g", "r", "s1", "Be brief.", background=True, raw=True
    )
    assert read("--model=openai/gpt-5 --graph g --output r --session-id s1").model == "openai/gpt-5"
    assert read("--help").help


def test_two_dashes_end_the_options_and_begin_the_prompt():
    assert read("-m demo -- What's -o for?") == Request("demo", prompt="What's -o for?")
    assert read("--system 'a -- b' -m demo").system == "a -- b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--modle demo", r"no option --modle\. Did you mean --model\?"),
        ("--sesion-id=4", r"no option --sesion-id\. Did you mean --session-id\?"),
        ("-x", r"no option -x"),
        ("-m", r"expected one argument"),
        ("-m demo hello there", r"Unexpected 'hello'.*below it, or after --"),
        ("--system 'open", r"no closing quotation"),
        ("-o 1x", r"-o 1x: not a variable name"),
        ("-o class", r"-o class: not a variable name"),
    ],
)
def test_bad_arguments_are_one_line(line: str, message: str):
    with pytest.raises(UsageError, match=message) as caught:
        read(line)
    assert "\n" not in str(caught.value)


def test_what_ipython_puts_into_a_notebook_is_not_guessed():
    names = {"open": open, "Out": {}, "_nope": 1}
    with pytest.raises(UsageError) as told:
        variable(names, "nope", "-g")
    assert "Did you mean" not in str(told.value)
    with pytest.raises(UsageError, match="Did you mean 'notes'"):
        attachment({**names, "notes": "x"}, "note")


def test_help_lists_every_option():
    text = MeshMagics.mesh.parser.format_help()
    for option in ("--model", "--graph", "--output", "--session-id", "--system", "--background", "--raw"):
        assert option in text
