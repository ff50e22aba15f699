#!/usr/bin/env python3
"""pfc_ref beside PyTorch in one run, in turns, both with the same threads: CPU and wall seconds a step, ratios, peak memory.

    python3 tools/peer_torch.py [--cases "A,A 10 %,B,C,C 10 %"] [--rounds 5] [--turns 3] [--threads 1] [--json FILE]
    python3 tools/peer_torch.py --agree        only shows that both compute the same

partial_fc, a step with margin, softmax, gradients and SGD with momentum (peer_partial_fc.py):
  A  N=128 C=100000 D=512    B  N=512 C=100000 D=512    C  N=128 C=1000000 D=128    "10 %": that share of the classes sampled
  natural  the order of operations of the published code (insightface, fast-reid), autograd and torch.optim
  tuned    the best plain PyTorch known here: backward by hand, weights never normalised in memory, everything in place
sinkhorn 64, 512, 4096; batch_norm 1, 2 (ranks): peer_layers.py; shuffle 2, 4, 8 (ranks): peer_shuffle.py. These have one thread a rank.

PyTorch is measured as it comes and with glibc told to keep freed memory and use huge pages ("malloc"); the better counts. Its OpenBLAS gets the kernels of
this CPU (OPENBLAS_CORETYPE), which it does not always find itself; another BLAS than OpenBLAS or MKL is no fair peer, and the report says so.
The time that counts: CPU seconds with one thread, wall seconds with more. Exit status: 0; 77 without PyTorch or h5py.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import peer_common
import peer_layers
import peer_shuffle
from peer_common import PEERS, core_type, environment, join, label, pfc_ref

HERE = os.path.dirname(os.path.abspath(__file__))
# N, C, D, share of the classes
CASES = {"A": (128, 100000, 512, 1.0), "A 10 %": (128, 100000, 512, 0.1), "B": (512, 100000, 512, 1.0), "B 10 %": (512, 100000, 512, 0.1),
         "C": (128, 1000000, 128, 1.0), "C 10 %": (128, 1000000, 128, 0.1)}
LAYERS = tuple(peer_layers.CASES)
SHUFFLES = ("shuffle 2", "shuffle 4", "shuffle 8")
HEAD = "head=cos,scale=64,margin=0.4,momentum=0.9,weight_decay=0.0005,lr=0.0001"


def child(*words, threads=1, malloc=False):
    """What peer_partial_fc.py prints, one JSON object."""
    made = subprocess.run([sys.executable, os.path.join(HERE, "peer_partial_fc.py")] + [str(w) for w in words], env=environment(threads, malloc), check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(made.stdout)


# ---- the same results ------------------------------------------------------------------------------------------------------------------------

def agree():
    """One step of a small case, full and sampled; the worst difference of loss, feature gradient and new weight over the tensor's largest value."""
    import h5py
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for share in (1.0, 0.1):
            case, ours, theirs = (os.path.join(folder, n) for n in ("case.h5", "ours.h5", "theirs.h5"))
            pfc_ref(["golden", "partial_fc", "--size", "N=24,C=700,D=48", "--param", HEAD.replace("lr=0.0001", "lr=0.1") + ",sample_rate=%g" % share, "--name",
                     "case", "-o", folder])
            pfc_ref(["run", case, "-o", ours, "--mode", "fast"])
            for style in ("natural", "tuned"):
                child("agree", style, ours, theirs)
                with h5py.File(ours, "r") as a, h5py.File(theirs, "r") as b:
                    off = {n: abs(a["out"][n][()] - b[n][()]).max() / abs(a["out"][n][()]).max() for n in ("loss", "x_grad", "weight", "weight_momentum")}
                right = max(off.values()) <= 1e-4
                good = good and right
                print("%-8s %3.0f %% of the classes: %s %s" % (style, 100 * share, ", ".join("%s %.1e" % pair for pair in off.items()),
                                                              "ok" if right else "DIFFERENT"))
    return good


# ---- times -----------------------------------------------------------------------------------------------------------------------------------

def room(case, malloc):
    """Why the natural peer's temporaries do not fit, or None. Its arrays as measured: eight of classes x width, five of batch x classes."""
    n, c, d, share = CASES[case]
    need = 4.0 * (8 * c * d * share + 5 * n * c * share + (2 * c * d if share < 1 else 0)) * (1.6 if malloc else 1.0)
    free = next(int(line.split()[1]) * 1024.0 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    return None if need < 0.9 * free else "needs about %.1f GB, %.1f GB are free" % (need * 1e-9, free * 1e-9)


def bench(case, rounds, threads):
    n, c, d, share = CASES[case]
    made = peer_common.bench("partial_fc", "N=%d,C=%d,D=%d" % (n, c, d), HEAD + ",sample_rate=%g" % share, rounds, threads)
    return {"wall": made["wall_seconds_rounds"], "cpu": made["cpu_seconds_rounds"], "peak": made["peak_rss_bytes"] / 1048576.0, "bound": made["bound_seconds"],
            "isa": made["isa"]}


def measure(case, a):
    """Turns of pfc_ref and every peer; what was made by name, and what was skipped by name with the reason."""
    each = -(-a.rounds // a.turns)
    ours, peers, skipped = [], {}, {}
    for _ in range(a.turns):
        ours.append(bench(case, each, a.threads))
        for style, malloc in PEERS:
            name = label(style, malloc)
            why = room(case, malloc) if style == "natural" else None
            if why:
                skipped[name] = why
            else:
                peers.setdefault(name, []).append(child("time", style, *CASES[case], each, a.threads, threads=a.threads, malloc=malloc))
    made = {"pfc_ref": dict(join(ours), bound=min(o["bound"] for o in ours), isa=ours[0]["isa"])}
    made.update((name, join(parts)) for name, parts in peers.items())
    return made, skipped


def layer(case, a):
    settings = argparse.Namespace(rounds=-(-a.rounds // a.turns), images=256, shape=[3, 224, 224])
    world, parts = int(case.split()[1]), {}
    for _ in range(a.turns):
        parts.setdefault("pfc_ref", []).append(peer_layers.run_ours(case, settings) if case in LAYERS else peer_shuffle.run_ours(world, settings))
        for style, malloc in PEERS:
            if case in SHUFFLES and style != "natural":
                continue
            a.port += 1
            parts.setdefault(label(style, malloc), []).append(peer_layers.run_peer(case, style, a.port, settings, malloc) if case in LAYERS
                                                              else peer_shuffle.run_peer(world, a.port, settings, malloc))
    return {name: join(p) for name, p in parts.items()}, {}


# ---- telling ---------------------------------------------------------------------------------------------------------------------------------

def tell(case, made, skipped, key):
    """Lines of one case; the ratios, of the better setting of each style."""
    ours, ratios = made["pfc_ref"], {}
    bound = ours.get("bound")
    for name, m in made.items():
        share = "%5.0f %%" % (100 * bound / m[key]) if bound else ""
        print("%-14s %-16s %12.3f %12.3f %10.0f %8s" % (case, name, 1000 * m["cpu"], 1000 * m["wall"], m["peak"], share))
    for name, why in skipped.items():
        print("%-14s %-16s skipped: %s" % (case, name, why))
    for style in ("natural", "tuned"):
        found = [made[n] for n in (style, style + ", malloc") if n in made]
        if found:
            best = min(found, key=lambda m: m[key])
            ratios[style] = best[key] / ours[key]
            ratios[style + "_memory"] = best["peak"] / ours["peak"]
            print("%-14s %-16s %11.2fx by %s, memory %.1fx" % (case, style + " / pfc_ref", ratios[style], "CPU" if key == "cpu" else "wall",
                                                             ratios[style + "_memory"]))
    sys.stdout.flush()
    return ratios


def head(a):
    who = child("who", a.threads, threads=a.threads)
    print("torch %s, %s threads, BLAS %s" % (who["torch"], who["threads"], who["blas"]))
    if core_type():
        print("OPENBLAS_CORETYPE=%s for PyTorch and pfc_ref" % core_type())
    if not who["fair"]:
        print("not a fair peer: its matrix products are not those of OpenBLAS or MKL; install libopenblas0-pthread and take the figures again")
    return who


def main():
    p = argparse.ArgumentParser(description="pfc_ref beside PyTorch.")
    p.add_argument("--cases", default=",".join([c for c in CASES if c != "B 10 %"]), help="some of %s; default %%(default)s" %
                   ", ".join(list(CASES) + list(LAYERS) + list(SHUFFLES)).replace("%", "%%"))
    p.add_argument("--rounds", type=int, default=5, help="measured steps of each, at least; default 5")
    p.add_argument("--turns", type=int, default=3, help="they are measured in so many turns; default 3")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--json")
    p.add_argument("--agree", action="store_true", help="compare the results of a small case, nothing else")
    a = p.parse_args()
    a.port = 29800
    cases = [c.strip() for c in a.cases.split(",") if c.strip()]
    for case in cases:
        if case not in CASES and case not in LAYERS + SHUFFLES:
            p.error("no case '%s'" % case)
    if subprocess.run([sys.executable, "-c", "import torch, h5py"], stderr=subprocess.DEVNULL, check=False).returncode:
        print("skipped: no torch or no h5py for %s" % sys.executable)
        return 77
    who = head(a)
    if not agree():
        return 1
    if a.agree:
        return 0
    print("%-14s %-16s %12s %12s %10s %8s" % ("case", "", "CPU ms", "wall ms", "peak MiB", "bound"))
    report = {"peer": who, "openblas_coretype": core_type(), "threads": a.threads, "cases": []}
    for case in cases:
        made, skipped = measure(case, a) if case in CASES else layer(case, a)
        key = "wall" if (case in CASES and a.threads > 1) or case in SHUFFLES else "cpu"
        ratios = tell(case, made, skipped, key)
        report["cases"].append({"name": case, "time": key, "measured": made, "skipped": skipped, "torch_over_pfc_ref": ratios, "fair": who["fair"]})
    if a.json:
        with open(a.json, "w") as f:
            json.dump(report, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
