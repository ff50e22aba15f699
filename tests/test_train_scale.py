#!/usr/bin/env python3
"""tools/train_scale.py measures a tiny size and draws it; more ranks than cores have no time, in the table and in the plot."""
import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.environ.get("PFC_TOP_SRCDIR", os.path.join(os.path.dirname(__file__), os.pardir))
sys.path.insert(0, os.path.join(TOP, "tools"))
try:
    import train_scale as scale
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

NAMES = argparse.Namespace(rows=16, width=8)


def test_run(folder):
    svg = os.path.join(folder, "scale.svg")
    sizes = ["--classes", "500", "--ranks", "1", "--rates", "0.5", "--rows", "16", "--width", "8", "--rounds", "1"]
    done = subprocess.run([sys.executable, os.path.join(TOP, "tools", "train_scale.py"), *sizes, "-o", svg], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done
    title, _, _, _, row = done.stdout.splitlines()
    assert "D = 8, 16 rows a step" in title, title
    classes, ranks, rate, ms, mib = row.strip("| ").split(" | ")
    assert (classes, ranks, rate) == ("500", "1", "0.5") and float(ms) > 0 and 1 < int(mib) < 2000, row
    if shutil.which("gnuplot"):
        with open(svg) as f:
            assert "</svg>" in f.read()
    assert not [n for n in os.listdir(folder) if n != "scale.svg"]


def test_plot(folder):
    runs = [dict(C=c, ranks=p, rate=r, isa="scalar", ms=c * r / p if p < 3 else None, mib=1 + c / p) for r in (1.0, 0.1) for p in (1, 2, 8) for c in (10, 1000)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        scale.tell(NAMES, runs)
    assert "| 1000 | 2 | 0.1 | 50.00 | 501 |\n" in said.getvalue() and "| 1000 | 8 | 1 | - | 126 |\n" in said.getvalue(), said.getvalue()
    times, memory = scale.lines(runs, "ms"), scale.lines(runs, "mib")
    assert times[0].count("END") == 2 * 4 and memory[0].count("END") == 2 * 6 and "\n1000 50\n" in times[0]
    assert "8 ranks" not in times[1] and "'8 ranks, sampling 0.1'" in memory[1] and "'1 rank, all classes'" in times[1]
    if shutil.which("gnuplot"):
        out = os.path.join(folder, "a.svg")
        scale.plot(argparse.Namespace(output=out, rows=16, width=8), runs)
        with open(out) as f:
            drawn = f.read()
        assert all(text in drawn for text in ("partial_fc", "8 ranks, all classes", "ms per step", "peak MiB per rank")), drawn[:300]


def main():
    for test in (test_plot, test_run):
        folder = tempfile.mkdtemp(prefix="train_scale.", dir=".")
        try:
            test(os.path.abspath(folder))
        finally:
            shutil.rmtree(folder)
        print("ok", test.__name__)


if __name__ == "__main__":
    main()
