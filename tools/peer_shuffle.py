#!/usr/bin/env python3
"""The batch shuffle beside PyTorch with gloo, in one run: shuffle a batch of images over the ranks, then put it back.

    python3 tools/peer_shuffle.py [--ranks 2,4,8] [--images 256] [--shape 3,224,224] [--turns 3] [--rounds 3]

The peer does what the sources do (VISSL moco_hooks.py): all_gather of the images, the permutation from rank 0, own rows picked; on the way back all_gather
and own rows by the inverse. pfc_ref bench moco_shuffle does the same two ways. Turns alternate, so that other load on the machine meets both. Each PyTorch
rank has one thread; it is measured as it comes and with glibc told to keep freed memory ("malloc", doc/performance.md), and the better counts.
Wall: the slowest rank of a round, median over all rounds. CPU: sum over ranks. Memory: sum over ranks of the largest resident memory; "own" leaves out what
a process has before it makes its images (Python, torch, MPI).
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

TUNABLES = ("glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967295:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=67108864")
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)


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


def child(rank, world, port, images, shape, rounds, out):
    import torch
    import torch.distributed as dist
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = torch.randn(images // world, *shape)
    wall, cpu = [], []
    for i in range(-1, rounds):
        dist.barrier()
        start = time.perf_counter(), time.process_time()
        y, inverse = shuffle(torch, dist, x, world, rank)
        z = unshuffle(torch, dist, y, inverse, world, rank)
        took = time.perf_counter() - start[0], time.process_time() - start[1]
        assert torch.equal(x, z)
        if i >= 0:
            wall.append(took[0])
            cpu.append(took[1])
    json.dump({"wall": wall, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "before": before}, open(out, "w"))


def run_peer(world, port, a, malloc):
    env = dict(os.environ, OMP_NUM_THREADS="1")
    if malloc:
        env["GLIBC_TUNABLES"] = TUNABLES
    with tempfile.TemporaryDirectory() as folder:
        names = [os.path.join(folder, str(r)) for r in range(world)]
        ranks = [subprocess.Popen([sys.executable, os.path.abspath(__file__), "--child", json.dumps([r, world, port, a.images, a.shape, a.rounds, names[r]])],
                                  env=env) for r in range(world)]
        if any([p.wait() for p in ranks]):
            raise SystemExit("a PyTorch rank failed")
        made = [json.load(open(name)) for name in names]
    return {"wall": [max(m["wall"][i] for m in made) for i in range(a.rounds)], "cpu": [sum(m["cpu"][i] for m in made) for i in range(a.rounds)],
            "peak": sum(m["peak"] for m in made) / 1024.0, "own": sum(m["peak"] - m["before"] for m in made) / 1024.0}


# ---- ours -----------------------------------------------------------------------------------------------------------------------------------

def bench(world, size, rounds):
    """pfc_ref bench; MPI's own choice of how large messages travel."""
    env = dict(os.environ, OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
               OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_mpi_yield_when_idle="1")
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        subprocess.run(["mpirun", "-np", str(world), os.environ.get("PFC_REF", os.path.join(TOP, "pfc_ref")), "bench", "moco_shuffle", "--size", size,
                        "--rounds", str(rounds), "--threads", "1", "--quiet", "--json", f.name], env=env, check=True)
        found = json.load(open(f.name))
    return found["cases"][0]


def run_ours(world, a):
    letters = "CHWD"
    size = "N=%d" % a.images + "".join(",%s=%d" % pair for pair in zip(letters, a.shape))
    made, empty = bench(world, size, a.rounds), bench(world, "N=%d" % world, 1)
    mib = world / 1048576.0  # the largest rank stands for all
    return {"wall": made["wall_seconds_rounds"], "cpu": made["cpu_seconds_rounds"], "peak": made["peak_rss_bytes"] * mib,
            "own": (made["peak_rss_bytes"] - empty["peak_rss_bytes"]) * mib}


# ---- table ----------------------------------------------------------------------------------------------------------------------------------

def join(parts):
    return {"wall": statistics.median(sum((p["wall"] for p in parts), [])), "cpu": statistics.median(sum((p["cpu"] for p in parts), [])),
            "peak": max(p["peak"] for p in parts), "own": max(p["own"] for p in parts)}


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
        child(*json.loads(a.child))
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
