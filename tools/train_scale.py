#!/usr/bin/env python3
"""Memory and time of a partial_fc training step (fast mode) against classes and ranks: a table, and a plot where gnuplot is.

    python3 tools/train_scale.py -o doc/pictures/train_scale.svg >table.md          5 to 10 minutes on 2 cores; up to 6 GB

Each point is `pfc_ref bench partial_fc`: forward, gradients and SGD of the head on N rows of the whole batch, ranks with a thread each. The peak is a
rank's largest resident memory, median times of --rounds steps. With more ranks than cores the memory is measured, but a time would say nothing: "-".
Needs numpy, and an mpirun that accepts the ranks (. tests/mpi-env.sh).
"""
import argparse
import os
import shutil
import subprocess
import sys

from scale_model import bench, processor

CLASSES = [10000, 30000, 100000, 300000, 1000000, 2000000]


def numbers(kind):
    return lambda text: [kind(n) for n in text.split(",")]


def measure(a):
    """Runs by rate, ranks, classes; time: ms of a step, or None."""
    cores, runs = len(os.sched_getaffinity(0)), []
    for rate in a.rates:
        for ranks in a.ranks:
            for classes in a.classes:
                timed = ranks <= cores
                run = bench(argparse.Namespace(pfc_ref=a.pfc_ref, prefix="", rounds=a.rounds if timed else 1), (ranks, a.rows, classes, a.width, rate))
                runs.append(dict(run, ms=1e3 * run["wall"] if timed else None, mib=run["peak"] / 2**20))
                print(f"rate {rate:g}, {ranks} ranks, {classes} classes: {runs[-1]['mib']:.0f} MiB", file=sys.stderr)
    return runs


def tell(a, runs):
    print(f"{processor()}, {runs[0]['isa']}; D = {a.width}, {a.rows} rows a step, float32, a thread in each rank\n")
    print("| classes | ranks | sample_rate | ms per step | peak MiB per rank |\n" + "| ---: " * 5 + "|")
    for r in runs:
        print(f"| {r['C']} | {r['ranks']} | {r['rate']:g} | {'-' if r['ms'] is None else format(r['ms'], '.2f')} | {r['mib']:.0f} |")


def lines(runs, key):
    """gnuplot's data blocks and what plots them: a line for every rate and number of ranks."""
    data, plots = "", []
    for rate, ranks in sorted({(r["rate"], r["ranks"]) for r in runs if r[key] is not None}, key=lambda p: (-p[0], p[1])):
        points = [f"{r['C']} {r[key]:.6g}" for r in runs if (r["rate"], r["ranks"]) == (rate, ranks)]
        data += f"${key}{len(plots)} << END\n" + "\n".join(points) + "\nEND\n"
        plots.append(f"${key}{len(plots)} with linespoints lw 2 pt {7 if rate == 1 else 6} dt {1 if rate == 1 else 2} lc {ranks} "
                     f"title '{ranks} rank{'s' if ranks > 1 else ''}, {'all classes' if rate == 1 else f'sampling {rate:g}'}'")
    return data, "plot " + ", ".join(plots) + "\n"


def script(a, runs, output):
    times, memory = lines(runs, "ms"), lines(runs, "mib")
    title = f"partial_fc, D = {a.width}, {a.rows} rows a step, float32, {runs[0]['isa']}"
    return (f"set terminal svg size 1200,560 font 'sans-serif,13' background 'white'\nset output '{output}'\n{times[0]}{memory[0]}"
            f"set multiplot layout 1,2 title '{title}' noenhanced\nset logscale xy\nset grid\nset key top left\nset xlabel 'classes'\n"
            f"set ylabel 'ms per step'\n{times[1]}set ylabel 'peak MiB per rank'\n{memory[1]}unset multiplot\n")


def plot(a, runs):
    part = f"{a.output}.tmp-{os.getpid()}"
    try:
        subprocess.run(["gnuplot"], input=script(a, runs, part), text=True, check=True)
        os.replace(part, a.output)
    finally:
        if os.path.exists(part):
            os.remove(part)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-o", "--output", metavar="FILE.svg", help="plot; without gnuplot there is only the table")
    p.add_argument("--classes", type=numbers(int), default=CLASSES, metavar="C,..")
    p.add_argument("--ranks", type=numbers(int), default=[1, 2, 4, 8], metavar="P,..")
    p.add_argument("--rates", type=numbers(float), default=[1.0, 0.1], metavar="RATE,..", help="sample_rate")
    p.add_argument("--rows", type=int, default=128, metavar="N", help="of the whole batch")
    p.add_argument("--width", type=int, default=128, metavar="D")
    p.add_argument("--rounds", type=int, default=5, help="measured steps")
    p.add_argument("--pfc-ref", default=os.environ.get("PFC_REF", "./pfc_ref"))
    a = p.parse_args()
    runs = measure(a)
    tell(a, runs)
    if a.output and all(r["ms"] is None for r in runs):
        print("more ranks than cores: no time to plot", file=sys.stderr)
    elif a.output and shutil.which("gnuplot"):
        plot(a, runs)
    elif a.output:
        print("gnuplot not found: no plot", file=sys.stderr)


if __name__ == "__main__":
    main()
