"""The line of a `%%mesh` cell: options, and after `--` the beginning of the prompt."""

from __future__ import annotations

import dataclasses
import keyword
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

from ..core.errors import nearest
from ._prompt import variables

_END = re.compile(r"(?:^|\s)--(?:\s|$)")


@dataclasses.dataclass(slots=True)
class Request:
    """What a `%%mesh` line asks for; `prompt` is what followed `--` on it."""

    model: str | None = None
    graph: str | None = None
    output: str | None = None
    session_id: str | None = None
    system: str | None = None
    attach: list[str] | None = None
    json: str | None = None
    budget: float | None = None
    show: bool = False
    background: bool = False
    blind: bool = False
    raw: bool = False
    help: bool = False
    prompt: str = ""

    @property
    def models(self) -> list[str]:
        """The models that -m names, one or several with commas between them."""
        return [name for part in (self.model or "").split(",") if (name := part.strip())]

    def each(self) -> dict[str, Request]:
        """Return what to ask each model, by its name; a model that is named twice is asked twice."""
        found: dict[str, Request] = {}
        for model in self.models:
            number, name = 1, model
            while name in found:
                number += 1
                name = f"{model} #{number}"
            found[name] = dataclasses.replace(self, model=model)
        return found


def parse(parser: MagicArgumentParser, line: str) -> Request:
    """Read the line of a `%%mesh` cell. Raises UsageError: one line, with the nearest option."""
    line, prompt = _split(line)
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%%mesh {line}: {str(error).lower()}; put a value with spaces in quotes.") from None
    found, extra = parser.parse_known_args(words)
    for word in extra:
        raise UsageError(_unknown(parser, word))
    request = Request(**vars(found))
    request.prompt = prompt
    if request.output is not None and (
        not request.output.isidentifier() or keyword.iskeyword(request.output)
    ):
        raise UsageError(f"-o {request.output}: not a variable name.")
    several = len(request.models) > 1
    if several and request.session_id is not None:
        raise UsageError("-s goes with one model; several answers have no history in common.")
    if request.blind and not several:
        raise UsageError("--blind goes with several models, as in -m gpt-5,claude-sonnet-4-5 --blind.")
    return request


def _split(line: str) -> tuple[str, str]:
    """Cut the line at a `--` that stands outside quotes."""
    for match in _END.finditer(line):
        head = line[: match.start()]
        try:
            shlex.split(head)
        except ValueError:
            continue
        return head, line[match.end() :].strip()
    return line, ""


def _unknown(parser: MagicArgumentParser, word: str) -> str:
    if not word.startswith("-"):
        return f"Unexpected {word!r} on the %%mesh line; the prompt goes below it, or after --."
    name = word.partition("=")[0]
    close = nearest(name, [o for o in options(parser) if o.startswith("--")])
    guess = f" Did you mean {close}?" if close else ""
    return f"%%mesh has no option {name}.{guess} %%mesh --help lists them."


def options(parser: MagicArgumentParser) -> list[str]:
    """Return the options of a magic, in all their spellings."""
    return [option for action in parser._actions for option in action.option_strings]


def attachment(namespace: Mapping[str, Any], name: str) -> Any:
    """Return what --attach names: a variable, else the path of a file. Raises UsageError for neither."""
    if name in namespace:
        return namespace[name]
    path = Path(name).expanduser()
    if path.is_file():
        return path
    close = nearest(name, variables(namespace))
    guess = f" Did you mean {close!r}?" if close else ""
    raise UsageError(f"--attach {name}: neither a file nor a variable of the notebook.{guess}")


def variable(namespace: Mapping[str, Any], name: str, option: str) -> Any:
    """Return a variable that an option names. Raises UsageError with the nearest name."""
    if name in namespace:
        return namespace[name]
    close = nearest(name, variables(namespace))
    guess = f" Did you mean {close!r}?" if close else ""
    raise UsageError(f"{option} {name}: the notebook has no variable of that name.{guess}")
