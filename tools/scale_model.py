#!/usr/bin/env python3
"""Time and memory of a partial_fc step (fast mode) against ranks, classes and dimension: measured, fitted, checked, extrapolated.

    python3 tools/scale_model.py -o doc/scale.json       measures a grid with pfc_ref bench, then fits; 5 to 10 minutes
    python3 tools/scale_model.py --from doc/scale.json   fits what was measured

Needs numpy; with more than one rank an mpirun that accepts them (. tests/mpi-env.sh). --prefix CMD starts every bench through CMD, e.g. "taskset -c 1".

P ranks; N rows of the whole batch, C_r classes of a rank, n of them sampled, D the width. A rank's time is a sum of terms that are known beforehand, each
times a coefficient that is fitted (least squares of relative errors, no coefficient below 0):

    product    6 N n D operations     X W^T, G W, G^T X
    weights    20 n D bytes           weights read twice and written, momentum read and written
    cosines    N n                    stored and read, margin, two exponentials
    picked     20 n D bytes, sampled  the same, picked from all over the memory
    rows       n, sampled             a row that is picked
    keys       C_r, sampled           random keys and the search for the threshold
    batch      N D                    packing of X, lanes added, gradient of X
    step       1                      everything that does not depend on the size
    messages   log2 P                 collectives on this machine
    moved      bytes, P > 1           features gathered, their gradient scattered, sums

Peak memory of a rank beyond weights, momentum and cosines: constant + batch (N D) + norms, flags (n, C_r if sampled).
"""
import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile

import numpy as np

# (ranks, N, C, D, sample_rate); N and C of all ranks.
GRID = [
    (1, 32, 200000, 128, 1), (1, 64, 200000, 128, 1), (1, 128, 200000, 128, 1), (1, 256, 100000, 128, 1), (1, 512, 60000, 128, 1),
    (1, 64, 300000, 64, 1), (1, 256, 200000, 64, 1), (1, 64, 100000, 256, 1), (1, 128, 60000, 256, 1), (1, 512, 30000, 256, 1),
    (1, 64, 60000, 512, 1), (1, 128, 50000, 512, 1), (1, 512, 20000, 512, 1),
    (1, 16, 1000, 32, 1), (1, 128, 1000, 128, 1), (1, 1024, 1000, 256, 1), (1, 1024, 1000, 512, 1),
    (1, 128, 1000000, 128, 0.1), (1, 64, 1000000, 128, 0.05), (1, 64, 2000000, 32, 0.05), (1, 64, 2000000, 32, 0.01), (1, 64, 1000000, 32, 0.4), (1, 256, 400000, 256, 0.1), (1, 128, 200000, 512, 0.2),
    (2, 128, 200000, 128, 1), (2, 256, 100000, 256, 1), (2, 64, 2000, 64, 1), (2, 1024, 2000, 256, 1), (2, 1024, 2000, 512, 1),
    (2, 128, 1000000, 128, 0.1),
]
HELD_OUT = [(1, 192, 100000, 320, 1), (1, 96, 800000, 192, 0.1), (2, 192, 160000, 320, 1)]
LARGE = [(1, 128, 10000000, 128, 0.1), (1, 128, 10000000, 128, 1)]  # --large: 15 GB

TERMS = ["product", "weights", "cosines", "picked", "rows", "keys", "batch", "step", "messages", "moved"]


# ---- measuring ---------------------------------------------------------------------------------------------------------------------------------

def bench(a, point):
    ranks, n, c, d, rate = point
    launch = shlex.split(a.prefix)
    if ranks > 1:
        launch += shlex.split(os.environ.get("MPIRUN", "mpirun")) + shlex.split(os.environ.get("MPIRUN_FLAGS", "")) + ["-np", str(ranks)]
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "bench.json")
        command = [a.pfc_ref, "bench", "partial_fc", "--quiet", "--mode", "fast", "--threads", "1", "--size", f"N={n},C={c},D={d}",
                   "--param", f"sample_rate={rate}", "--rounds", str(a.rounds), "--json", out]
        subprocess.run(launch + command, check=True, stdin=subprocess.DEVNULL)
        with open(out) as f:
            case = json.load(f)["cases"][0]
    return dict(ranks=ranks, N=n, C=c, D=d, rate=rate, sampled=case["sampled_classes"], isa=case["isa"],
                cpu=round(case["cpu_seconds"], 7), wall=round(case["wall_seconds"], 7), peak=case["peak_rss_bytes"])


def processor():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


def measure(a):
    runs = []
    for kind, points in (("fit", GRID), ("held out", HELD_OUT), ("large", LARGE if a.large else [])):
        for point in points:
            runs.append(dict(use=kind, **bench(a, point)))
            print(f"{len(runs):3d} {kind:8s} P={point[0]} N={point[1]} C={point[2]} D={point[3]} rate={point[4]}: {runs[-1]['cpu']:.6f} s", file=sys.stderr)
    return {"processor": processor(), "rounds": a.rounds, "runs": runs}


# ---- the model ---------------------------------------------------------------------------------------------------------------------------------

def share(run):
    """Classes of a rank, and how many of them are sampled."""
    return math.ceil(run["C"] / run["ranks"]), math.ceil(run["sampled"] / run["ranks"])


def moved(ranks, n, d):
    """Bytes that a rank receives in a step: features, gradient as doubles, labels, maximum, two sums."""
    return (4 * n * d + 8 * n * d + 28 * n) * (ranks - 1) / ranks


def terms(run):
    own, n = share(run)
    picked = n < own
    return [6.0 * run["N"] * n * run["D"], 20.0 * n * run["D"], run["N"] * n, 20.0 * n * run["D"] * picked, n * picked, own * picked, run["N"] * run["D"], 1.0,
            math.log2(run["ranks"]), moved(run["ranks"], run["N"], run["D"])]


def least_squares(matrix, target):
    """Coefficients >= 0 with the least squared error (Lawson and Hanson)."""
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1
    a = matrix / scale
    x = np.zeros(a.shape[1])
    free = np.zeros(a.shape[1], bool)
    for _ in range(30 * a.shape[1]):
        gradient = a.T @ (target - a @ x)
        gradient[free] = -1
        if gradient.max() < 1e-9:
            break
        free[int(gradient.argmax())] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.lstsq(a[:, free], target, rcond=None)[0]
            if trial[free].min() > 0:
                break
            bad = free & (trial <= 0)
            step = (x[bad] / (x[bad] - trial[bad])).min()
            x += step * (trial - x)
            free &= x > 1e-15
            x[~free] = 0
        x = trial
    return x / scale


def seconds(run):
    """Of a rank, averaged: waiting for the others is part of it."""
    return run["cpu"] / run["ranks"]


def fit_time(runs):
    t = np.array([seconds(r) for r in runs])
    return least_squares(np.array([terms(r) for r in runs]) / t[:, None], np.ones(len(t)))


def state_bytes(own, n, rows, d):
    return 4.0 * (2 * own * d + rows * n)


def memory_terms(run):
    own, n = share(run)
    return [1.0, run["N"] * run["D"], n, own * (n < own)]


def fit_memory(runs):
    over = np.array([r["peak"] - state_bytes(*share(r), r["N"], r["D"]) for r in runs])
    return least_squares(np.array([memory_terms(r) for r in runs]), over)


def predict(run, time, memory):
    return float(np.dot(time, terms(run))), state_bytes(*share(run), run["N"], run["D"]) + float(np.dot(memory, memory_terms(run)))


# ---- telling -----------------------------------------------------------------------------------------------------------------------------------

def tell_coefficients(time, memory):
    c = dict(zip(TERMS, time))

    def rate(x, unit, factor=1e-9):
        return f"{factor / x:.1f} {unit}" if x > 0 else "not seen"
    print("| term | coefficient |\n| --- | --- |")
    print(f"| product | {rate(c['product'], 'GFLOP/s')} |")
    print(f"| weights | {rate(c['weights'], 'GB/s')} |")
    print(f"| picked | {1e9 * c['picked']:.3f} ns per byte more |")
    for name, per in (("cosines", "row and class"), ("rows", "sampled class"), ("keys", "class of the rank"), ("batch", "element of X")):
        print(f"| {name} | {1e9 * c[name]:.3f} ns per {per} |")
    print(f"| step | {1e6 * c['step']:.0f} us |")
    print(f"| messages | {1e6 * c['messages']:.0f} us per log2 P |")
    print(f"| moved | {rate(c['moved'], 'GB/s')} |")
    print(f"| memory | {memory[0] / 2**20:.1f} MiB + {memory[1]:.0f} N D + {memory[2]:.0f} n + {memory[3]:.0f} C_r (sampled) bytes |")


def tell_runs(runs, time, memory):
    print("| run | P | N | C | D | rate | measured s | model s | error | measured MiB | model MiB |\n" + "| --- " * 11 + "|")
    for r in runs:
        t, m = predict(r, time, memory)
        print(f"| {r['use']} | {r['ranks']} | {r['N']} | {r['C']} | {r['D']} | {r['rate']:g} | {seconds(r):.5f} | {t:.5f} | {100 * (t / seconds(r) - 1):+.1f} % | "
              f"{r['peak'] / 2**20:.0f} | {m / 2**20:.0f} |")


def tell_fit(runs, time, memory):
    errors = [abs(predict(r, time, memory)[0] / seconds(r) - 1) for r in runs]
    print(f"\n{len(runs)} runs fitted: error {100 * float(np.median(errors)):.1f} % in the median, {100 * max(errors):.1f} % at most")


def tell_cluster(a, time, memory):
    """One rank a node: its cores share the products and exponentials, the node's memory bandwidth bounds the weights, the network the messages."""
    rows = a.rows * a.nodes
    print(f"\n{a.classes} classes, D = {a.width}, {a.nodes} nodes x {a.cores} cores, one rank a node, N = {a.rows} rows a rank ({rows} in all). Assumed: "
          f"{a.network:g} Gbit/s and {a.latency:g} us between nodes, {a.memory:g} GB/s of memory in a node, cores as fast as here with all of them busy.")
    print("| sampled | memory a rank GiB | compute ms | memory ms | other ms | network ms | step s | samples/s |\n" + "| --- " * 8 + "|")
    for rate in (1.0, 0.1, 0.01):
        run = dict(ranks=a.nodes, N=rows, C=a.classes, D=a.width, rate=rate, sampled=rate * a.classes)
        t = dict(zip(TERMS, np.array(terms(run)) * time))
        compute = (t["product"] + t["cosines"] + t["keys"]) / a.cores
        weights = max((t["weights"] + t["picked"] + t["rows"]) / a.cores, terms(run)[1] / (1e9 * a.memory))
        other = t["step"] + t["batch"]
        messages = 29 * math.ceil(math.log2(a.nodes)) * 1e-6 * a.latency
        network = messages + moved(a.nodes, rows, a.width) / (a.network / 8 * 1e9)
        total = compute + weights + other + network
        size = predict(run, time, memory)[1]
        print(f"| {100 * rate:g} % | {size / 2**30:.1f} | {1e3 * compute:.0f} | {1e3 * weights:.1f} | {1e3 * other:.1f} | {1e3 * network:.1f} | {total:.3f} | {rows / total:.0f} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--from", dest="source", metavar="FILE", help="fit these measurements instead of measuring")
    p.add_argument("-o", "--output", metavar="FILE", help="where measurements go")
    p.add_argument("--pfc-ref", default=os.environ.get("PFC_REF", "./pfc_ref"))
    p.add_argument("--prefix", default="", help="command that starts every bench")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--large", action="store_true", help="measure ten million classes, too: 15 GB")
    for name, default, text in (("classes", 100000000, "of the cluster"), ("width", 512, "D"), ("nodes", 64, ""), ("cores", 32, "of a node"), ("rows", 64, "of a rank")):
        p.add_argument("--" + name, type=int, default=default, help=text)
    for name, default, text in (("network", 100.0, "Gbit/s"), ("latency", 5.0, "us"), ("memory", 200.0, "GB/s of a node")):
        p.add_argument("--" + name, type=float, default=default, help=text)
    a = p.parse_args()
    if a.source:
        with open(a.source) as f:
            data = json.load(f)
    else:
        data = measure(a)
    if a.output:
        with open(a.output, "w") as f:
            head = json.dumps({k: v for k, v in data.items() if k != "runs"})[:-1]
            f.write(head + ', "runs": [\n' + ",\n".join(json.dumps(r) for r in data["runs"]) + "\n]}\n")
    fitted = [r for r in data["runs"] if r["use"] == "fit"]
    time, memory = fit_time(fitted), fit_memory(fitted)
    print(f"{data['processor']}, one thread a rank, {fitted[0]['isa']}\n")
    tell_coefficients(time, memory)
    tell_fit(fitted, time, memory)
    print("\nnot used for the fit:\n")
    tell_runs([r for r in data["runs"] if r["use"] != "fit"], time, memory)
    tell_cluster(a, time, memory)


if __name__ == "__main__":
    main()
