"""Charts as SVG text, without anything that reaches beyond the picture. Greys that read on light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

WIDTH = 640.0
HEIGHT = 220.0
ROW = 26.0
LABEL = 30
INK, GRID = "#7d8590", "#8b949e"
COLORS = ("#4c8dde", "#e0823d", "#3aa76d", "#b06fd8", "#d9a406", "#d6607f", "#8b949e")
_FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12"'

Money = Callable[[float], str]


def columns(title: str, found: Sequence[tuple[str, str, float]], say: Money) -> str:
    """Return stacked columns: found has (place on the x axis, part, height), in order."""
    if not found:
        return _whole(title, (), 60)
    places = list(dict.fromkeys(when for when, _, _ in found))
    parts = list(dict.fromkeys(part for _, part, _ in found))
    of_place: dict[str, list[tuple[str, float]]] = {}
    for when, part, value in found:
        of_place.setdefault(when, []).append((part, value))
    marks = _ticks(max(sum(value for _, value in here) for here in of_place.values()))
    left, top, bottom = 64.0, 34.0, HEIGHT - 44.0
    scale, step = (bottom - top) / (marks[-1] or 1.0), (WIDTH - left - 8) / max(len(places), 1)
    made: list[str] = []
    for mark in marks:
        y = bottom - mark * scale
        made += [_line(left, y, WIDTH - 8, y), _text(left - 6, y + 4, f"${_plain(mark)}", "end")]
    every = math.ceil(len(places) / max(1, int((WIDTH - left) / 84)))
    for number, when in enumerate(places):
        x, base = left + number * step, bottom
        for part, value in of_place[when]:
            height = value * scale
            base -= height
            tip = f"{when}, {part}: {say(value)}"
            made.append(
                _box(x + step * 0.12, base, step * 0.76, height, COLORS[parts.index(part) % len(COLORS)], tip)
            )
        if number % every == 0:
            made.append(_text(x + step / 2, bottom + 16, when, "middle"))
    legend, height = _legend(parts)
    return _whole(title, made + legend, height)


def rows(title: str, found: Sequence[tuple[str, float]], say: Money) -> str:
    """Return a bar for each (name, value)."""
    top = max((value for _, value in found), default=0.0) or 1.0
    made: list[str] = []
    for number, (name, value) in enumerate(found):
        y = 34 + number * ROW
        width = 300 * value / top
        made += [
            _text(8, y + 16, _short(name)),
            _box(220, y + 3, max(width, 1), ROW - 8, COLORS[0], f"{name}: {say(value)}"),
            _text(220 + max(width, 1) + 6, y + 16, say(value)),
        ]
    return _whole(title, made, 42 + ROW * max(len(found), 1))


def spans(title: str, found: Sequence[tuple[str, Sequence[float], int]]) -> str:
    """Return a box for each (name, five quantiles, how many): the middle half, with a line from 5 to 95 %."""
    if not found:
        return _whole(title, (), 60)
    marks = _ticks(max((values[-1] for _, values, _ in found)))
    left, right = 220.0, WIDTH - 84
    scale = (right - left) / (marks[-1] or 1.0)
    bottom = 34 + ROW * max(len(found), 1)
    made: list[str] = []
    for mark in marks:
        x = left + mark * scale
        made += [_line(x, 30, x, bottom), _text(x, bottom + 15, _plain(mark), "middle")]
    for number, (name, values, count) in enumerate(found):
        low, first, middle, third, high = (left + value * scale for value in values)
        y = 34 + number * ROW
        told = f"{name}: median {values[2]:.3g}, 5 to 95 % {values[0]:.3g} to {values[4]:.3g}"
        made += [
            _text(8, y + 16, _short(name)),
            f'<line x1="{low:.1f}" y1="{y + 12:.1f}" x2="{high:.1f}" y2="{y + 12:.1f}" stroke="{COLORS[0]}"'
            ' stroke-width="2"/>',
            _box(first, y + 4, max(third - first, 2), ROW - 10, COLORS[0], told),
            f'<line x1="{middle:.1f}" y1="{y + 2:.1f}" x2="{middle:.1f}" y2="{y + ROW - 4:.1f}"'
            f' stroke="{COLORS[1]}" stroke-width="3"/>',
            _text(WIDTH - 8, y + 16, f"{count:,} call{'' if count == 1 else 's'}", "end"),
        ]
    return _whole(title, made, bottom + 24)


def _plain(mark: float) -> str:
    """Return a round number without an exponent, as long as it fits."""
    if mark and not 1e-7 <= mark < 1e9:
        return f"{mark:g}"
    text = f"{mark:,.8f}".rstrip("0")
    return text.removesuffix(".")


def _ticks(top: float) -> list[float]:
    """Return round numbers from 0 to at least the top."""
    if not 0 < top < math.inf:
        return [0.0, 1.0]
    rough = top / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    return [step * n for n in range(math.ceil(top / step - 1e-9) + 1)]


def _legend(parts: Sequence[str]) -> tuple[list[str], float]:
    """Return what each colour means, and where the last line of it ends."""
    made: list[str] = []
    x, y = 64.0, HEIGHT - 16
    for number, part in enumerate(parts):
        name = _short(part)
        width = 30 + 6.5 * len(name)
        if x + width > WIDTH and x > 64:
            x, y = 64.0, y + 18
        made += [_box(x, y, 10, 10, COLORS[number % len(COLORS)], part), _text(x + 15, y + 9, name)]
        x += width
    return made, y + 18


def _whole(title: str, made: Sequence[str], height: float) -> str:
    told = "".join(made) if made else _text(8, 50, "Nothing to show yet.")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" width="{WIDTH:.0f}"'
        f' height="{height:.0f}" role="img" {_FONT}><title>{escape(title)}</title>'
        f'<text x="8" y="18" fill="{INK}" font-weight="600">{escape(title)}</text>{told}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{GRID}" stroke-opacity="0.3"/>'


def _box(x: float, y: float, width: float, height: float, color: str, told: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0):.1f}" fill="{color}">'
        f"<title>{escape(told)}</title></rect>"
    )


def _short(name: str) -> str:
    return name if len(name) <= LABEL else name[: LABEL - 1] + "…"
