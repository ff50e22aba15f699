#!/usr/bin/env python3
"""Reads a glyph file written by data/hanglyph into NumPy arrays.

    import glyphs
    g = glyphs.read("data/han256.bin")
    g.pixels[g.faces.index("lxgw"), 0]      # (S,S) u8: the first character in that face

As a program: python3 tools/glyphs.py FILE [NUMBER] lists what is in the file, and draws character NUMBER.
"""
import sys
from typing import List, NamedTuple

import numpy as np


class Glyphs(NamedTuple):
    codes: np.ndarray  # (C) int64, code points
    faces: List[str]  # F keys of data/faces.txt
    ink: np.ndarray  # (F,C) bool: the face has ink for the character
    pixels: np.ndarray  # (F,C,S,S) u8: 0 paper, 255 ink, row by row from the top


def read(path):
    """The file layout stands at the top of data/hanglyph.c. ValueError where the file does not follow it."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:8] != b"hanglyph" or len(data) < 24:
        raise ValueError(f"{path}: not a glyph file")
    version, size, chars, faces = (int(v) for v in np.frombuffer(data, "<u4", 4, 8))
    mask_bytes, pixel_bytes = (chars + 7) // 8, chars * size * size
    expected = 24 + 4 * chars + 32 * faces + faces * (mask_bytes + pixel_bytes)
    if version != 1 or len(data) != expected:
        raise ValueError(f"{path}: found version {version} and {len(data)} bytes, expected version 1 and {expected} bytes")
    codes = np.frombuffer(data, "<u4", chars, 24).astype(np.int64)
    at = 24 + 4 * chars
    keys = [data[at + 32 * f : at + 32 * (f + 1)].rstrip(b"\0").decode() for f in range(faces)]
    blocks = np.frombuffer(data, np.uint8, faces * (mask_bytes + pixel_bytes), at + 32 * faces).reshape(faces, -1)
    ink = np.unpackbits(blocks[:, :mask_bytes], axis=1, bitorder="little")[:, :chars].astype(bool)
    pixels = blocks[:, mask_bytes:].reshape(faces, chars, size, size)
    return Glyphs(codes, keys, ink, pixels)


def main(argv):
    if len(argv) not in (2, 3):
        print(f"usage: {argv[0]} FILE [NUMBER]", file=sys.stderr)
        return 2
    try:
        g = read(argv[1])
        drawn = [] if len(argv) == 2 else [int(argv[2])]
        rows = [g.pixels[:, n].transpose(1, 0, 2) for n in drawn]  # (S,F,S)
    except (OSError, ValueError, IndexError) as e:
        print(f"{argv[0]}: {e}", file=sys.stderr)
        return 3
    size = g.pixels.shape[2]
    print(f"{len(g.codes)} characters, {len(g.faces)} faces, {size} x {size}")
    for key, ink in zip(g.faces, g.ink):
        print(f"{key:16} {ink.sum():6} with ink")
    for n, image in zip(drawn, rows):
        print(f"U+{g.codes[n]:04X} {chr(g.codes[n])}")
        for line in image:
            print(" ".join("".join(" .:*#@"[v * 6 // 256] for v in face) for face in line.astype(int)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
