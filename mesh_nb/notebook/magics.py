"""`%%mesh` and `%mesh`: added by `%load_ext mesh_nb`, removed by `%unload_ext mesh_nb`."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments

from ..core.run import Run
from ..core.runner import wait_here
from . import _arguments, _commands, _complete, _prompt
from ._cell import current_shell
from ._graph import graph_for
from ._preview import preview
from ._side_by_side import frozen
from .compare import Comparison, compare

_CALL = "get_ipython().run_cell_magic("
_AWAIT = "await __import__('mesh_nb.notebook.magics', fromlist=['entry']).entry("


@magics_class
class MeshMagics(Magics):
    """The magics of mesh_nb."""

    # Not @output_can_be_silenced: it reads the cell as Python, and most prompts are not.
    @no_var_expand
    @line_cell_magic
    @magic_arguments()
    @argument("-m", "--model", help="model name, provider/model, or demo, which needs no key; a,b compares")
    @argument("-g", "--graph", metavar="NAME", help="run the graph in this variable; the cell is its input")
    @argument("-o", "--output", metavar="NAME", help="bind the Run to this variable")
    @argument("-s", "--session-id", metavar="ID", help="cells of one session share their chat history")
    @argument("--system", metavar="TEXT", help="system prompt, in quotes")
    @argument("--attach", metavar="NAME", action="append", help="a file, or a variable; several times")
    @argument("--json", metavar="TYPE", help="the answer is an object of this class in the notebook")
    @argument("--budget", metavar="USD", type=float, help="US dollars that the run may spend")
    @argument("--blind", action="store_true", help="with -m a,b: hide which is which until you vote")
    @argument("--show", action="store_true", help="show what would be sent, send nothing")
    @argument("--background", action="store_true", help="return at once; the output goes on updating")
    @argument("--raw", action="store_true", help="send {{name}} as it is, not the variable's value")
    @argument("--help", action="store_true", help="show this help")  # pyright: ignore[reportUntypedFunctionDecorator]
    def mesh(self, line: str, cell: str | None = None) -> Any:
        """Send the cell to a model, or run a graph on it; the cell's value is the Run (or Comparison).

        {{name}} in the prompt is the value of a notebook variable, single braces are literal, a last line of
        ; hides the output, -- ends the options. %mesh lists what looks at runs and their cost.
        """
        if cell is None:
            return _commands.run(line, help_text(self.mesh))
        prepared = self.prepare(line, cell)
        return None if prepared is None else prepared.run_sync()

    def prepare(self, line: str, cell: str) -> _Prepared | None:
        """Read a `%%mesh` cell; None when it only asked for help. Raises one-line errors; starts nothing."""
        request = _arguments.parse(_parser(self.mesh), line)
        if request.help:
            print(help_text(self.mesh))  # noqa: T201
            return None
        prepared = _Prepared(request, cell, self.shell)
        if request.show:
            print(prepared.preview())  # noqa: T201
            return None
        return prepared


def _parser(magic: Any) -> MagicArgumentParser:
    return magic.parser


def help_text(magic: Any) -> str:
    """Return the help of a magic as it reads in a cell; IPython's is reStructuredText for `%mesh?`."""
    text = _parser(magic).format_help().removeprefix("::").lstrip("\n")
    return textwrap.dedent(text.replace("%mesh [", "%%mesh [", 1))


class _Prepared:
    """A cell that was read and found good."""

    def __init__(self, request: _arguments.Request, cell: str, shell: Any) -> None:
        self._request, self._namespace = request, shell.user_ns
        self._terminal = getattr(shell, "kernel", None) is None
        text = "\n".join(part for part in (request.prompt, cell.strip("\n")) if part)
        self._silent = text.rstrip().rpartition("\n")[2].strip() == ";"
        if self._silent:
            text = text.rstrip().removesuffix(";").rstrip()
        if not text.strip():
            raise UsageError("%%mesh: the cell has no prompt; write it below the %%mesh line.")
        self._prompt = text if request.raw else _prompt.fill(text, self._namespace)
        each = request.each() if len(request.models) > 1 else {"": request}
        self._graphs = {name: graph_for(one, self._namespace) for name, one in each.items()}
        self._files = [_arguments.attachment(self._namespace, name) for name in request.attach or ()]

    def preview(self) -> str:
        """Return what the run would send, or each of several."""
        return "\n\n".join(
            preview(graph.compile(), self._prompt, self._files) for graph in self._graphs.values()
        )

    def start(self, background: bool) -> Run | Comparison:
        """Start the run, or one for each model, and bind it: what is stopped or fails is there with what
        it obtained."""
        common: dict[str, Any] = {
            "files": self._files or None,
            "budget_usd": self._request.budget,
            "display": False if self._silent else None,
            "background": background or self._request.background,
        }
        if len(self._graphs) > 1:
            started = compare(self._prompt, self._graphs, blind=self._request.blind, **common)
        else:
            (graph,) = self._graphs.values()
            # While this thread waits, no answer from the page arrives.
            policy = "stop" if background and not self._request.background else None
            session = self._request.session_id
            started = graph.run(self._prompt, session_id=session, on_no_answer=policy, **common)
        if self._request.output:
            self._namespace[self._request.output] = started
        return started

    def run_sync(self) -> Run | Comparison | None:
        """Run to the end while this thread waits, unless the cell asked for the background."""
        started = self.start(background=True)
        if not self._request.background:
            self._wait(started)
        return None if self._silent else started

    def _wait(self, started: Run | Comparison) -> None:
        try:
            if isinstance(started, Run):
                wait_here(started)
            else:
                started.wait_here()
        finally:
            if self._terminal and not self._silent and isinstance(started, Comparison):
                print(frozen(started)["text/plain"])  # noqa: T201
                started.told = True

    async def run(self) -> Run | Comparison | None:
        """Run to the end on this loop, unless the cell asked for the background."""
        started = self.start(background=False)
        if not self._request.background:
            await started
        return None if self._silent else started


async def entry(name: str, line: str, cell: str) -> Any:
    """Run a top-level `%%mesh` cell of a kernel; parameters as for `run_cell_magic`."""
    shell: Any = current_shell()
    function = shell.find_cell_magic(name)
    prepared = function.__self__.prepare(line, cell)
    return None if prepared is None else await prepared.run()


def await_mesh_cells(lines: list[str]) -> list[str]:
    """Make a top-level `%%mesh` cell awaited: a text transformer, because the kernel decides on the text
    whether a cell is async. Inside another cell magic (%%time) the call stays as it is, and runs in sync."""
    source = "".join(lines)
    if not source.startswith(f"{_CALL}'mesh',"):
        return lines
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "run_cell_magic":
            return lines
        frame = frame.f_back
    return [f"{_AWAIT}{source.removeprefix(_CALL).rstrip()}\n"]


def load(ip: Any) -> None:
    """Add the magics to a shell, and in a kernel the transformer. Idempotent and silent."""
    unload(ip)
    ip.register_magics(MeshMagics)
    _complete.load(ip, _arguments.options(_parser(MeshMagics.mesh)))
    if getattr(ip, "kernel", None) is not None:
        ip.input_transformers_post.append(await_mesh_cells)


def unload(ip: Any) -> None:
    """Remove what `load` added and nothing else. Idempotent."""
    _complete.unload(ip)
    ip.input_transformers_post[:] = [t for t in ip.input_transformers_post if not _is_ours(t)]
    manager = ip.magics_manager
    for kind in ("line", "cell"):
        if _is_ours(manager.magics[kind].get("mesh")):
            del manager.magics[kind]["mesh"]
    manager.registry.pop(MeshMagics.__name__, None)
    live = sys.modules.get(f"{__package__}.live")
    if live is not None:
        live.close_hub()


def _is_ours(thing: Any) -> bool:
    # By module, not identity: after a reload of this module the old objects are still there.
    return getattr(thing, "__module__", None) == __name__
