#!/usr/bin/env python3
"""Sinkhorn and synchronous batch norm beside PyTorch, one thread a rank, in one run: CPU and wall seconds, peak memory.

    python3 tools/peer_layers.py [--turns 5] [--rounds 7] [--cases "batch_norm 2"]

sinkhorn    K = 3000 prototypes, 64, 512 and 4096 samples, 3 iterations
  natural   the arrangement of the source (main_swav.py: Q *= u, Q *= c / column sums)
  tuned     scaling vectors instead of the matrix, in place, no fresh memory; a group of samples is scaled and summed while it is in the cache
batch_norm  forward and backward of a 64x64x56x56 batch on every rank. One rank, and two in one group: two processes with gloo there, two MPI ranks here
  natural   NaiveSyncBatchNorm of the source (mean and mean of squares, gather and sum over the group)
  tuned     torch.nn.BatchNorm2d, every rank for itself: no synchronisation

Turns alternate, so that other load on the machine meets all. PyTorch is measured as it comes and with glibc told to keep freed memory ("malloc");
the better by CPU time counts. The median over all rounds of all turns; CPU and memory are sums over the ranks, wall the slowest rank. Memory is the
largest of a process, "own" without what it has before it makes its data.
"""
import argparse
import json
import sys

from peer_common import PEERS, bench_ranks, join, label, rank_main, run_ranks

# algorithm, ranks, size, parameters
CASES = {"sinkhorn 64": ("sinkhorn", 1, "N=64,K=3000", "iterations=3"), "sinkhorn 512": ("sinkhorn", 1, "N=512,K=3000", "iterations=3"),
         "sinkhorn 4096": ("sinkhorn", 1, "N=4096,K=3000", "iterations=3"), "batch_norm 1": ("batch_norm", 1, "N=64,C=64,H=56,W=56", "kind=sync"),
         "batch_norm 2": ("batch_norm", 2, "N=128,C=64,H=56,W=56", "kind=sync,num_sync_devices=2")}
EMPTY = {"sinkhorn": "N=2,K=2", "batch_norm": "N=4,C=1,H=2,W=2"}


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


def sinkhorn_tuned(torch, samples, group=256):
    """The same assignment, to rounding: Q = diag(b) E diag(r), E = exp(scores / epsilon). The products with b and r go group by group of the samples."""
    scores, e, out = torch.randn(samples, 3000) * 0.1, torch.empty(samples, 3000), torch.empty(samples, 3000)
    groups = [(s, x, o) for s, x, o in zip(scores.split(group), e.split(group), out.split(group))]
    ones, b, r, u = torch.ones(min(group, samples)), torch.empty(min(group, samples)), torch.empty(3000), torch.empty(3000)

    def step():
        u.zero_()
        for s, x, _ in groups:
            torch.mul(s, 20.0, out=x)
            x.exp_()
            u.addmv_(x.t(), ones[:len(x)])
        torch.reciprocal(u, out=r)
        for _ in range(2):
            u.zero_()
            for _, x, _ in groups:
                v = b[:len(x)]
                torch.mv(x, r, out=v)
                v.reciprocal_()
                u.addmv_(x.t(), v)
            torch.reciprocal(u, out=r)
        for _, x, o in groups:
            v = b[:len(x)]
            torch.mv(x, r, out=v)
            v.reciprocal_()
            torch.mul(x, r, out=o)
            o.mul_(v.unsqueeze(1))
        return out
    return step


def group_gather(torch, dist, world):
    """GroupGather of the source for one group: the vectors of all ranks, added; backward the same with the gradients."""
    def gather(vector):
        if world == 1:
            return vector
        gathered = [torch.zeros_like(vector) for _ in range(world)]
        dist.all_gather(gathered, vector.contiguous())
        return torch.sum(torch.stack(gathered, dim=0), dim=0)

    class GroupGather(torch.autograd.Function):
        @staticmethod
        def forward(context, vector):
            return gather(vector)

        @staticmethod
        def backward(context, gradient):
            return gather(gradient)
    return GroupGather.apply


def batch_norm(torch, dist, samples, world):
    """NaiveSyncBatchNorm3d of the source over a group of all ranks."""
    x = torch.randn(samples, 64, 56, 56, requires_grad=True)
    weight, bias = torch.ones(64, requires_grad=True), torch.zeros(64, requires_grad=True)
    g, running_mean, running_var = torch.randn(samples, 64, 56, 56), torch.zeros(64), torch.ones(64)
    gather = group_gather(torch, dist, world)

    def step():
        x.grad = weight.grad = bias.grad = None
        vector = torch.cat([torch.mean(x, dim=[0, 2, 3]), torch.mean(x * x, dim=[0, 2, 3])], dim=0)
        mean, square = torch.split(gather(vector) * (1.0 / world), 64)
        var = square - mean * mean
        with torch.no_grad():
            running_mean.add_(0.1 * (mean - running_mean))
            running_var.add_(0.1 * (var - running_var))
        scale = weight * torch.rsqrt(var + 1e-5)
        y = x * scale.reshape(1, -1, 1, 1) + (bias - mean * scale).reshape(1, -1, 1, 1)
        y.backward(g)
    return step


def batch_norm_plain(torch, samples):
    """torch.nn.BatchNorm2d on the same batch."""
    layer = torch.nn.BatchNorm2d(64)
    x, g = torch.randn(samples, 64, 56, 56, requires_grad=True), torch.randn(samples, 64, 56, 56)

    def step():
        x.grad = None
        layer.zero_grad(set_to_none=True)
        layer(x).backward(g)
    return step


def make_step(torch, dist, _rank, world, name, style):
    kind = name.split()
    if kind[0] == "sinkhorn":
        return (sinkhorn_tuned if style == "tuned" else sinkhorn)(torch, int(kind[1]))
    return batch_norm_plain(torch, 64) if style == "tuned" else batch_norm(torch, dist, 64, world)


def run_peer(name, style, port, a, malloc):
    return run_ranks(__file__, CASES[name][1], port, a.rounds, malloc, name, style)


def run_ours(name, a):
    algorithm, ranks, size, param = CASES[name]
    return bench_ranks(algorithm, ranks, size, param, a.rounds, EMPTY[algorithm])


def main():
    p = argparse.ArgumentParser(description="Sinkhorn and synchronous batch norm beside PyTorch.")
    p.add_argument("--turns", type=int, default=5)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--cases", default=",".join(CASES), help="some of: %(default)s")
    p.add_argument("--child", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child:
        rank_main(make_step, *json.loads(a.child))
        return 0
    print("%-14s %-16s %10s %10s %12s %10s" % ("case", "", "CPU ms", "wall ms", "memory MiB", "own MiB"))
    port = 29600
    for case in a.cases.split(","):
        parts = {name: [] for name in ["pfc_ref"] + PEERS}
        for _ in range(a.turns):
            parts["pfc_ref"].append(run_ours(case, a))
            for p in PEERS:
                parts[p].append(run_peer(case, p[0], port, a, p[1]))
                port += 1
        made = {n: join(parts[n]) for n in parts}
        for n in parts:
            print("%-14s %-16s %10.3f %10.3f %12.0f %10.0f" % (case, n if n == "pfc_ref" else label(*n), 1000 * made[n]["cpu"], 1000 * made[n]["wall"], made[n]["peak"],
                                                               made[n]["own"]))
        for style in ("natural", "tuned"):
            best = min((p for p in PEERS if p[0] == style), key=lambda n: made[n]["cpu"])
            print("%-14s %-16s %9.2fx %9.2fx %11.1fx %9.1fx" % (case, "better " + style, *[made[best][k] / made["pfc_ref"][k]
                                                                                          for k in ("cpu", "wall", "peak", "own")]))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
