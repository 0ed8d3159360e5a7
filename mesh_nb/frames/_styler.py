"""A report as a pandas Styler, for those who want to go on styling it or to export it."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable
from typing import Any

from ..core.errors import InputError
from ._show import BAR, TITLES, Frame, cell, is_number


def styled(caption: str, df: Frame) -> Any:
    """Return the Styler of a report's DataFrame. Raises InputError without Jinja2, which pandas needs for it.

    Names come from models and logs: they are escaped for HTML.
    """
    try:
        from pandas.io.formats.style import Styler
    except ImportError:
        raise InputError(
            "to_styler() needs Jinja2, as every pandas Styler does: pip install jinja2. The report, its"
            " .df and .to_markdown() do without it."
        ) from None
    shown = df.copy(deep=False)
    shown.attrs = {}
    # As in the report itself: answers of a tape cost nothing, and the group is not free for that.
    shown["cost_usd"] = shown.cost_usd.mask((shown.cost_usd == 0) & (shown.unpriced_calls > 0))
    # The rules of a Styler name its table by an id: made from the content, it is the same in every execution.
    known = hashlib.sha256(f"{caption}\n{shown.to_csv(index=False)}".encode("utf-8", "replace"))
    styler: Any = Styler(shown, uuid=known.hexdigest()[:12], caption=html.escape(caption))
    styler = styler.format({name: _formatter(name) for name in shown.columns}).hide(axis="index")
    styler = styler.relabel_index([TITLES.get(name, name) for name in shown.columns], axis="columns")
    numbers = [name for name in shown.columns if is_number(name)]
    styler = styler.set_properties(subset=numbers, **{"text-align": "right"})
    if (shown.cost_usd.fillna(0) > 0).any():
        styler = styler.bar(subset=["cost_usd"], align="left", vmin=0, color=BAR, props="")
    return styler


def _formatter(name: str) -> Callable[[Any], str]:
    return lambda value: html.escape(cell(name, value))
