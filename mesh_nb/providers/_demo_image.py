"""The picture of the demo: a bar chart drawn here, as PNG, readable on a light and a dark page."""

from __future__ import annotations

import struct
import zlib

_FONT = {
    "A": "01110100011000111111100011000110001",
    "B": "11110100011000111110100011000111110",
    "C": "01110100011000010000100001000101110",
    "D": "11110100011000110001100011000111110",
    "E": "11111100001000011110100001000011111",
    "F": "11111100001000011110100001000010000",
    "G": "01110100011000010111100011000101110",
    "H": "10001100011000111111100011000110001",
    "I": "01110001000010000100001000010001110",
    "J": "00111000100001000010000101001001100",
    "K": "10001100101010011000101001001010001",
    "L": "10000100001000010000100001000011111",
    "M": "10001110111010110101100011000110001",
    "N": "10001110011010110011100011000110001",
    "O": "01110100011000110001100011000101110",
    "P": "11110100011000111110100001000010000",
    "Q": "01110100011000110001101011001001101",
    "R": "11110100011000111110101001001010001",
    "S": "01111100001000001110000010000111110",
    "T": "11111001000010000100001000010000100",
    "U": "10001100011000110001100011000101110",
    "V": "10001100011000110001100010101000100",
    "W": "10001100011000110101101011101110001",
    "X": "10001100010101000100010101000110001",
    "Y": "10001100010101000100001000010000100",
    "Z": "11111000010001000100010001000011111",
    "0": "01110100011001110101110011000101110",
    "1": "00100011000010000100001000010001110",
    "2": "01110100010000100010001000100011111",
    "3": "11110000010000101110000010000111110",
    "4": "00010001100101010010111110001000010",
    "5": "11111100001111000001000011000101110",
    "6": "01110100001000011110100011000101110",
    "7": "11111000010001000100010000100001000",
    "8": "01110100011000101110100011000101110",
    "9": "01110100011000101111000010000101110",
}
_GREY = (128, 134, 142, 255)
_BARS = ((66, 133, 196, 255), (112, 166, 214, 255), (38, 150, 118, 255), (214, 144, 56, 255))


def bar_chart(values: dict[str, int], width: int = 640, height: int = 300) -> bytes:
    """Return a PNG of one bar for each name, in pixels of width and height, on a transparent ground.

    Names and figures are drawn in capital letters and digits; other characters are left out.
    """
    canvas = _Canvas(width, height)
    base, top, slot = height - 44, 40, width // max(len(values), 1)
    most = max(values.values(), default=1) or 1
    for i, (name, value) in enumerate(values.items()):
        left, tall = i * slot + slot // 5, round((base - top) * value / most)
        canvas.fill(left, base - tall, slot * 3 // 5, tall, _BARS[i % len(_BARS)])
        middle = i * slot + slot // 2
        canvas.write(name, middle, base + 14, _GREY)
        canvas.write(str(value), middle, base - tall - 22, _GREY)
    canvas.fill(12, base, width - 24, 2, _GREY)
    return canvas.png()


class _Canvas:
    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows = [bytearray(4 * width) for _ in range(height)]

    def fill(self, x: int, y: int, w: int, h: int, colour: tuple[int, int, int, int]) -> None:
        for row in self.rows[max(y, 0) : y + h]:
            row[4 * x : 4 * (x + w)] = bytes(colour) * w

    def write(
        self, text: str, middle: int, y: int, colour: tuple[int, int, int, int], scale: int = 2
    ) -> None:
        glyphs = [_FONT[c] for c in text.upper() if c in _FONT]
        x = middle - len(glyphs) * 3 * scale
        for glyph in glyphs:
            for i, dot in enumerate(glyph):
                if dot == "1":
                    self.fill(x + i % 5 * scale, y + i // 5 * scale, scale, scale, colour)
            x += 6 * scale

    def png(self) -> bytes:
        """Encode as PNG: https://www.w3.org/TR/png-3/."""
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 6, 0, 0, 0)
        body = zlib.compress(b"".join(b"\0" + bytes(row) for row in self.rows), 9)
        chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
