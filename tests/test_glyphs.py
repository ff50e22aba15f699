#!/usr/bin/env python3
"""The shipped glyph set reads back: digest, header, masks, and pixels that look as hanglyph draws them."""
import hashlib
import os
import sys
import tempfile

import numpy as np

TOP = os.environ.get("PFC_TOP_SRCDIR", os.path.join(os.path.dirname(__file__), os.pardir))
sys.path.insert(0, os.path.join(TOP, "tools"))
import glyphs  # noqa: E402

PATH = os.path.join(TOP, "data", "han256.bin")


def test_digest():
    with open(os.path.join(TOP, "data", "han256.sha256")) as f:
        want = f.read().split()[0]
    with open(PATH, "rb") as f:
        data = f.read()
    assert hashlib.sha256(data).hexdigest() == want
    assert len(data) < 500_000


def test_contents():
    g = glyphs.read(PATH)
    assert g.faces == ["notosans", "seto", "notoserif", "lxgw", "notosans-bold", "notoserif-bold"], g.faces
    assert g.pixels.shape == (6, 256, 16, 16) and g.ink.shape == (6, 256)
    assert np.all(np.diff(g.codes) > 0) and g.codes[0] >= 0x4E00 and g.codes[-1] <= 0x9FFF
    assert g.ink.all()


def test_pixels():
    """The ink box is scaled to S-2: its longer side covers 13 to 16 pixels (control points may lie outside the ink), is centred, and no two images agree."""
    g = glyphs.read(PATH)
    inked = g.pixels > 0
    for axis in (2, 3):
        lines = inked.any(axis=axis)
        first = lines.argmax(axis=2)
        last = 15 - lines[:, :, ::-1].argmax(axis=2)
        assert np.all(np.abs(first + last - 15) <= 4)
        extent = last - first + 1 if axis == 2 else np.maximum(extent, last - first + 1)
    assert extent.min() >= 12 and np.mean(extent >= 14) > 0.95, (extent.min(), np.mean(extent >= 14))
    assert len({image.tobytes() for image in g.pixels.reshape(-1, 16, 16)}) == 6 * 256
    # strokes of the bold faces are heavier
    weight = dict(zip(g.faces, g.pixels.mean(axis=(1, 2, 3))))
    assert weight["notosans-bold"] > 1.2 * weight["notosans"] and weight["notoserif-bold"] > 1.2 * weight["notoserif"], weight


def test_nearest_face():
    """A character of one face is mostly nearest to the same character of another: orientation and order of the images are right."""
    g = glyphs.read(PATH)
    x = g.pixels.reshape(6, 256, -1).astype(np.float64)
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    found = (x[g.faces.index("lxgw")] @ x[g.faces.index("notosans")].T).argmax(axis=1)
    right = np.mean(found == np.arange(256))
    assert right > 0.75, right  # by chance: 0.004


def test_masks_and_damage():
    """Characters without ink, a count that is no multiple of eight, and files that are cut or lengthened."""
    size, codes, ink = 4, [5, 6, 9], [[1, 0, 1], [0, 1, 1]]
    data = b"hanglyph" + np.array([1, size, 3, 2], "<u4").tobytes() + np.array(codes, "<u4").tobytes()
    data += b"one".ljust(32, b"\0") + b"two".ljust(32, b"\0")
    for f in range(2):
        data += bytes([sum(bit << c for c, bit in enumerate(ink[f]))])
        data += b"".join(bytes([10 * f + c] * 16 if ink[f][c] else [0] * 16) for c in range(3))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "g.bin")

        def read(content):
            with open(path, "wb") as out:
                out.write(content)
            return glyphs.read(path)

        g = read(data)
        assert g.codes.tolist() == codes and g.faces == ["one", "two"] and g.ink.tolist() == [[True, False, True], [False, True, True]]
        assert g.pixels[1, 2].tolist() == [[12] * 4] * 4 and not g.pixels[1, 0].any()
        for bad in (data[:-1], data + b"\0", data[:20], b"x" + data[1:], b""):
            try:
                read(bad)
            except ValueError as e:
                assert path in str(e)
            else:
                raise AssertionError("a damaged file was read")


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
        print("ok", name)
