#!/usr/bin/env python3
"""The batch shuffle beside PyTorch with gloo, in one run: shuffle a batch of images over the ranks, then put it back.

    python3 tools/peer_shuffle.py [--ranks 2,4,8] [--images 256] [--shape 3,224,224] [--turns 3] [--rounds 3]

The peer does what the sources do (VISSL moco_hooks.py): all_gather of the images, the permutation from rank 0, own rows picked; on the way back all_gather
and own rows by the inverse. pfc_ref bench moco_shuffle does the same two ways. Turns alternate, so that other load on the machine meets both. Each PyTorch
rank has one thread; it is measured as it comes and with glibc told to keep freed memory ("malloc", doc/performance.md), and the better counts.
Wall: the slowest rank of a round, median over all rounds. CPU and memory: sums over ranks (peer_common.py).
"""
import argparse
import json
import sys

from peer_common import bench_ranks, join, rank_main, run_ranks


# ---- the peer: one process of a gloo group ---------------------------------------------------------------------------------------------------

def shuffle(torch, dist, x, world, rank):
    """As the sources: returns own rows of the shuffled batch and the inverse permutation."""
    gathered = [torch.empty_like(x) for _ in range(world)]
    dist.all_gather(gathered, x)
    everything = torch.cat(gathered)
    order = torch.randperm(everything.shape[0])
    dist.broadcast(order, src=0)
    inverse = torch.argsort(order)
    mine = order.view(world, -1)[rank]
    return everything[mine], inverse


def unshuffle(torch, dist, x, inverse, world, rank):
    gathered = [torch.empty_like(x) for _ in range(world)]
    dist.all_gather(gathered, x)
    return torch.cat(gathered)[inverse.view(world, -1)[rank]]


def make_step(torch, dist, rank, world, images, shape):
    x = torch.randn(images // world, *shape)

    def there_and_back():
        y, inverse = shuffle(torch, dist, x, world, rank)
        return unshuffle(torch, dist, y, inverse, world, rank)
    assert torch.equal(x, there_and_back())
    return there_and_back


def run_peer(world, port, a, malloc):
    return run_ranks(__file__, world, port, a.rounds, malloc, a.images, a.shape)


# ---- ours -----------------------------------------------------------------------------------------------------------------------------------

def run_ours(world, a):
    size = "N=%d" % a.images + "".join(",%s=%d" % pair for pair in zip("CHW", a.shape))
    return bench_ranks("moco_shuffle", world, size, "", a.rounds, "N=%d" % world)


# ---- table ----------------------------------------------------------------------------------------------------------------------------------

def main():
    p = argparse.ArgumentParser(description="The batch shuffle beside PyTorch.")
    p.add_argument("--ranks", default="2,4,8")
    p.add_argument("--images", type=int, default=256)
    p.add_argument("--shape", default="3,224,224")
    p.add_argument("--turns", type=int, default=3)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--child", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child:
        rank_main(make_step, *json.loads(a.child))
        return 0
    a.shape = [int(n) for n in a.shape.split(",")]
    names = ("pfc_ref", "torch", "torch, malloc")
    print("%-6s %-14s %10s %10s %12s %10s" % ("ranks", "", "wall s", "CPU s", "memory MiB", "own MiB"))
    for world in [int(n) for n in a.ranks.split(",")]:
        parts = {name: [] for name in names}
        for turn in range(a.turns):
            port = 29500 + 10 * world + 2 * turn
            parts["pfc_ref"].append(run_ours(world, a))
            parts["torch"].append(run_peer(world, port, a, False))
            parts["torch, malloc"].append(run_peer(world, port + 1, a, True))
        made = {name: join(parts[name]) for name in names}
        for name in names:
            m = made[name]
            print("%-6d %-14s %10.4f %10.4f %12.0f %10.0f" % (world, name, m["wall"], m["cpu"], m["peak"], m["own"]))
        best = min(("torch", "torch, malloc"), key=lambda name: made[name]["wall"])
        ratio = {key: made[best][key] / made["pfc_ref"][key] for key in ("wall", "cpu", "peak", "own")}
        print("%-6d %-14s %9.1fx %9.1fx %11.1fx %9.1fx" % (world, "better torch", ratio["wall"], ratio["cpu"], ratio["peak"], ratio["own"]))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
