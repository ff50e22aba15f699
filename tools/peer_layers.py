#!/usr/bin/env python3
"""Sinkhorn and synchronous batch norm beside PyTorch on one thread, in one run: CPU seconds and peak memory.

    OPENBLAS_CORETYPE=SkylakeX python3 tools/peer_layers.py [--turns 5] [--rounds 7]

sinkhorn    K = 3000 prototypes, 64, 512 and 4096 samples, 3 iterations, the arrangement of the source (main_swav.py: Q *= u, Q *= c / column sums)
batch_norm  forward and backward of a 64x64x56x56 batch, NaiveSyncBatchNorm of the source (mean and mean of squares, gather and sum over a group of one)

Turns alternate, so that other load on the machine meets both. PyTorch is measured as it comes and with glibc told to keep freed memory ("malloc");
the better counts. The median over all rounds of all turns; memory is the largest of a process, "own" without what it has before it makes its data.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from peer_shuffle import TOP, TUNABLES

CASES = {"sinkhorn 64": ("sinkhorn", "N=64,K=3000", "iterations=3"), "sinkhorn 512": ("sinkhorn", "N=512,K=3000", "iterations=3"),
         "sinkhorn 4096": ("sinkhorn", "N=4096,K=3000", "iterations=3"), "batch_norm": ("batch_norm", "N=64,C=64,H=56,W=56", "kind=sync")}


def sinkhorn(torch, samples):
    """distributed_sinkhorn of the source with one rank, its all-reduces left out: they would change nothing."""
    scores = torch.randn(samples, 3000) * 0.1

    def step():
        q = torch.exp(scores / 0.05).t()
        q /= torch.sum(q)
        r, c = torch.ones(q.shape[0]) / q.shape[0], torch.ones(q.shape[1]) / q.shape[1]
        for _ in range(3):
            u = torch.sum(q, dim=1)
            q *= (r / u).unsqueeze(1)
            q *= (c / torch.sum(q, dim=0)).unsqueeze(0)
        return (q / torch.sum(q, dim=0, keepdim=True)).t().float()
    return step


def batch_norm(torch, samples):
    """NaiveSyncBatchNorm3d of the source, the group being one rank."""
    x = torch.randn(samples, 64, 56, 56, requires_grad=True)
    weight, bias = torch.ones(64, requires_grad=True), torch.zeros(64, requires_grad=True)
    g, running_mean, running_var = torch.randn(samples, 64, 56, 56), torch.zeros(64), torch.ones(64)

    def step():
        x.grad = weight.grad = bias.grad = None
        mean, square = torch.mean(x, dim=[0, 2, 3]), torch.mean(x * x, dim=[0, 2, 3])
        var = square - mean * mean
        with torch.no_grad():
            running_mean.add_(0.1 * (mean - running_mean))
            running_var.add_(0.1 * (var - running_var))
        scale = weight * torch.rsqrt(var + 1e-5)
        y = x * scale.reshape(1, -1, 1, 1) + (bias - mean * scale).reshape(1, -1, 1, 1)
        y.backward(g)
    return step


def child(name, rounds):
    import torch
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kind = name.split()
    step = sinkhorn(torch, int(kind[1])) if kind[0] == "sinkhorn" else batch_norm(torch, 64)
    step()
    cpu = []
    for _ in range(rounds):
        start = time.process_time()
        step()
        cpu.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"cpu": cpu, "peak": peak / 1024.0, "own": (peak - before) / 1024.0}))


def run_peer(name, a, malloc):
    env = dict(os.environ, OMP_NUM_THREADS="1")
    if malloc:
        env["GLIBC_TUNABLES"] = TUNABLES
    made = subprocess.run([sys.executable, os.path.abspath(__file__), "--child", name, "--rounds", str(a.rounds)], env=env, check=True, stdout=subprocess.PIPE)
    return json.loads(made.stdout)


def bench(algorithm, size, param, rounds):
    env = dict(os.environ, OMP_NUM_THREADS="1")
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        subprocess.run([os.environ.get("PFC_REF", os.path.join(TOP, "pfc_ref")), "bench", algorithm, "--size", size, "--param", param, "--rounds", str(rounds),
                        "--threads", "1", "--quiet", "--json", f.name], env=env, check=True)
        return json.load(open(f.name))["cases"][0]


def run_ours(name, a):
    algorithm, size, param = CASES[name]
    made = bench(algorithm, size, param, a.rounds)
    empty = bench(algorithm, "N=2,K=2" if algorithm == "sinkhorn" else "N=2,C=1,H=2,W=2", param, 1)
    return {"cpu": made["cpu_seconds_rounds"], "peak": made["peak_rss_bytes"] / 1048576.0, "own": (made["peak_rss_bytes"] - empty["peak_rss_bytes"]) / 1048576.0}


def main():
    p = argparse.ArgumentParser(description="Sinkhorn and synchronous batch norm beside PyTorch.")
    p.add_argument("--turns", type=int, default=5)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--child", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child:
        child(a.child, a.rounds)
        return 0
    names = ("pfc_ref", "torch", "torch, malloc")
    print("%-14s %-14s %10s %12s %10s" % ("case", "", "CPU ms", "memory MiB", "own MiB"))
    for case in CASES:
        parts = {name: [] for name in names}
        for _ in range(a.turns):
            parts["pfc_ref"].append(run_ours(case, a))
            parts["torch"].append(run_peer(case, a, False))
            parts["torch, malloc"].append(run_peer(case, a, True))
        made = {n: {"cpu": statistics.median(sum((m["cpu"] for m in parts[n]), [])), "peak": max(m["peak"] for m in parts[n]),
                    "own": max(m["own"] for m in parts[n])} for n in names}
        for n in names:
            print("%-14s %-14s %10.3f %12.0f %10.0f" % (case, n, 1000 * made[n]["cpu"], made[n]["peak"], made[n]["own"]))
        best = min(names[1:], key=lambda n: made[n]["cpu"])
        print("%-14s %-14s %9.1fx %11.1fx %9.1fx" % (case, "better torch", *[made[best][k] / made["pfc_ref"][k] for k in ("cpu", "peak", "own")]))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
