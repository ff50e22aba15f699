"""What the peers in PyTorch share: the command line of peer_torch_FAMILY.py, processes that talk over gloo, the comparison."""
import argparse
import multiprocessing
import os
import tempfile

import torch
import torch.distributed as dist

from exact_v1 import compare_near


def same(want, peer):
    """Whether the results of a file and those of the peer are the same ones and close."""
    return set(want) == set(peer) and all([compare_near("/out/" + name, want[name], peer[name]) for name in sorted(peer)])


def main(family, cases, check_all):
    """The exit status. cases: names of tiny cases by number of ranks; check_all(paths, ranks): True, False, or a reason to skip."""
    parser = argparse.ArgumentParser(description="PyTorch as a peer of " + family)
    parser.add_argument("file", nargs="*", metavar="RESULT.h5")
    parser.add_argument("--ranks", type=int, default=1, help="ranks of the run")
    parser.add_argument("--cases", action="store_true", help="list the tiny cases to run")
    options = parser.parse_args()
    for ranks, names in cases.items() if options.cases else ():
        for name in names:
            print(ranks, name)
    torch.set_num_threads(1)
    good = check_all(options.file, options.ranks) if options.file else True
    if isinstance(good, str):
        print("skipped: " + good)
        return 77
    return 0 if good else 1


def one_by_one(check):
    return lambda paths, ranks: all([check(path, ranks) for path in paths])


def process(work, paths, ranks, rank, store, queue):
    try:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=ranks)
    except Exception as error:  # no gloo, no socket: nothing to compare with
        queue.put((rank, None, str(error)))
        return
    queue.put((rank, [work(path, ranks, rank) for path in paths], ""))
    dist.barrier()
    dist.destroy_process_group()


def distributed(work, paths, ranks):
    """work(path, ranks, rank) in a process for each rank: for every path the list of their results, and ""; or None and a reason."""
    if not dist.is_available():
        return None, "PyTorch without gloo"
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        queue = context.Queue()
        workers = [context.Process(target=process, args=(work, paths, ranks, r, os.path.join(folder, "store"), queue)) for r in range(ranks)]
        for w in workers:
            w.start()
        parts = dict((r, (part, why)) for r, part, why in (queue.get(timeout=240) for _ in workers))
        for w in workers:
            w.join()
    failed = [why for part, why in parts.values() if part is None]
    return (None, failed[0]) if failed else (list(zip(*(parts[r][0] for r in range(ranks)))), "")


def check_distributed(work, whole, paths, wanted):
    """Two processes for all paths: whole(parts) is what a file's results, wanted[path], are compared with."""
    parts, why = distributed(work, paths, 2)
    if parts is None:
        print("two processes, gloo: skipped, " + why)
        return True
    good = True
    for path, part in zip(paths, parts):
        print("%s: two processes, gloo" % path)
        good = same(wanted[path], whole(part)) and good
    return good
