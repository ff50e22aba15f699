"""What the comparisons with PyTorch (peer_*.py) share: the environment of both sides, pfc_ref bench, groups of PyTorch ranks, timing, joining turns.

PyTorch is measured as it comes and with glibc told to keep freed memory and use huge pages ("malloc"). Seconds are lists, one number a round; memory is in
MiB, "own" without what a process has before it makes its data (Python, torch, MPI).
"""
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
PFC_REF = os.environ.get("PFC_REF", os.path.join(TOP, "pfc_ref"))
PEERS = [(style, malloc) for style in ("natural", "tuned") for malloc in (False, True)]


def label(style, malloc):
    return style + (", malloc" if malloc else "")


def core_type():
    """OpenBLAS's name for the widest kernels this CPU has; None: leave the choice to it."""
    try:
        flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return None
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= set(flags):
        return "SkylakeX"
    return "Haswell" if {"avx2", "fma"} <= set(flags) else None


def environment(threads=1, malloc=False):
    """Of either side. How MPI's messages travel is its own choice."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
               OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_mpi_yield_when_idle="1")
    if core_type():
        env["OPENBLAS_CORETYPE"] = core_type()
    if malloc:
        env["GLIBC_TUNABLES"] = TUNABLES
    return env


# ---- pfc_ref ---------------------------------------------------------------------------------------------------------------------------------

def pfc_ref(words, threads=1, ranks=1):
    start = ["mpirun", "-np", str(ranks)] if ranks > 1 else []
    subprocess.run(start + [PFC_REF] + words + ["--threads", str(threads), "--quiet"], env=environment(threads), check=True, stdout=subprocess.DEVNULL)


def bench(algorithm, size, param, rounds, threads=1, ranks=1):
    """The case that pfc_ref bench reports."""
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        pfc_ref(["bench", algorithm, "--size", size, "--rounds", str(rounds), "--json", f.name] + (["--param", param] if param else []), threads, ranks)
        return json.load(open(f.name))["cases"][0]


def bench_ranks(algorithm, ranks, size, param, rounds, empty):
    """The same as run_ranks makes; empty: a size that takes no memory to speak of."""
    made, least = bench(algorithm, size, param, rounds, ranks=ranks), bench(algorithm, empty, param, 1, ranks=ranks)
    mib = ranks / 1048576.0  # the largest rank stands for all
    return {"wall": made["wall_seconds_rounds"], "cpu": made["cpu_seconds_rounds"], "peak": made["peak_rss_bytes"] * mib,
            "own": (made["peak_rss_bytes"] - least["peak_rss_bytes"]) * mib}


# ---- PyTorch ---------------------------------------------------------------------------------------------------------------------------------

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def timed(step, rounds, barrier=None):
    wall, cpu = [], []
    for i in range(-2, rounds):  # two steps first: they touch all pages
        if barrier:
            barrier()
        start = time.perf_counter(), time.process_time()
        step()
        took = time.perf_counter() - start[0], time.process_time() - start[1]
        if i >= 0:
            wall.append(took[0])
            cpu.append(took[1])
    return {"wall": wall, "cpu": cpu, "peak": peak()}


def run_ranks(script, world, port, rounds, malloc, *words):
    """Starts `script --child ...` for every rank; it calls rank_main. CPU and memory are sums over the ranks, wall is the slowest of each round."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [os.path.join(folder, str(r)) for r in range(world)]
        ranks = [subprocess.Popen([sys.executable, os.path.abspath(script), "--child", json.dumps([r, world, port, rounds, outs[r], *words])],
                                  env=environment(1, malloc)) for r in range(world)]
        if any([p.wait() for p in ranks]):
            raise SystemExit("a PyTorch rank failed")
        made = [json.load(open(out)) for out in outs]
    return {"wall": [max(m["wall"][i] for m in made) for i in range(rounds)], "cpu": [sum(m["cpu"][i] for m in made) for i in range(rounds)],
            "peak": sum(m["peak"] for m in made), "own": sum(m["own"] for m in made)}


def rank_main(make_step, rank, world, port, rounds, out, *words):
    """One process of a gloo group: times make_step(torch, dist, rank, world, *words)."""
    import torch
    import torch.distributed as dist
    torch.set_num_threads(1)
    if world > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=world)
    before = peak()
    made = timed(make_step(torch, dist, rank, world, *words), rounds, dist.barrier if world > 1 else None)
    json.dump(dict(made, own=made["peak"] - before), open(out, "w"))


# ---- turns -----------------------------------------------------------------------------------------------------------------------------------

def join(parts):
    """Medians over all rounds of all turns, the rounds, and the most memory."""
    rounds = {k: sum((p[k] for p in parts), []) for k in ("wall", "cpu")}
    done = {k: statistics.median(rounds[k]) for k in rounds}
    return dict(done, rounds=rounds, **{k: max(p[k] for p in parts) for k in ("peak", "own") if k in parts[0]})
