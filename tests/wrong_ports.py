#!/usr/bin/env python3
"""The proof of `pfc_ref check`: it rejects every wrong port of tests/ports and accepts every right one, in each type.

    wrong_ports.py [--seeds N] [--family NAME] [--only TEXT] [--types f32,tf32,bf16] [--write FILE] [--keep FOLDER]

Makes goldens on several ranks, computes each port's results in each type, and asks `check`. A wrong port has to end with status 1 and, where a step
is named in the tables, with that step as the first divergence; a right one with 0. Prints Markdown tables, the smallest ratio of a wrong port
and the largest of a right one over the seeds; --write writes doc/wrong-ports.md. As a test (no arguments): one seed, and doc/wrong-ports.md has to list
the ports that are tried here; to be quick, wrong ports are tried in bf16, whose bounds are the widest, and right ones in one type each, in turn.
"""
import argparse
import glob
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

try:
    import h5py
    import numpy as np
except ImportError:
    print("skipped: no Python with numpy and h5py")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from exact_v1 import read_case  # noqa: E402
from make_tiny_cases import write as write_case  # noqa: E402
from ports import Case  # noqa: E402
from ports.precision import Precision  # noqa: E402

FAMILIES = ("partial_fc", "arcface_head", "adaptive_margins", "sinkhorn", "swav", "lr_schedule", "moco", "batch_norm")
TYPES = ("f32", "tf32", "bf16")
DOC = os.path.join(HERE, "..", "doc", "wrong-ports.md")
PFC_REF = os.environ.get("PFC_REF", os.path.join(HERE, "..", "pfc_ref"))
MPIRUN = shlex.split(os.environ.get("MPIRUN", "mpirun") + " " + os.environ.get("MPIRUN_FLAGS", "-q"))


def command(words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


# ---- goldens ----------------------------------------------------------------------------------------------------------------------------------

def parameters(text):
    """"k=2,scale=16" as a dictionary."""
    pairs = [word.split("=") for word in text.split(",")]
    return {key: int(x) if re.fullmatch("[0-9]+", x) else float(x) if re.match("[0-9]", x) else x for key, x in pairs}


def make_golden(spec, seed, types, folder):
    """The path of the golden."""
    os.makedirs(folder)
    words = [PFC_REF, "golden", "--steps", "--dtype", ",".join(types), "-o", folder]
    if spec.inputs:
        case = folder + ".h5"
        write_case(case, spec.algorithm, parameters(spec.param), spec.inputs(seed))
        words += [case]
    else:
        words += [spec.algorithm, "--seed", str(seed), "--fill", spec.fill]
        words += [x for key, text in (("--size", spec.size), ("--param", spec.param)) if text for x in (key, text)]
    status, text = command((MPIRUN + ["-np", str(spec.ranks)] if spec.ranks > 1 else []) + words)
    files = glob.glob(os.path.join(folder, "*.h5"))
    if status or len(files) != 1:
        raise SystemExit("%s: status %d: %s" % (" ".join(words), status, text))
    return files[0]


def read(path, ranks):
    with h5py.File(path, "r") as h5:
        algorithm, param, inputs = read_case(h5)
    inputs = {name: x if x.dtype.kind == "i" or name in ("margins", "sample_keys") else x.astype(np.float32) for name, x in inputs.items()}
    return Case(algorithm, param, inputs, ranks)


def write(path, out, steps):
    with h5py.File(path, "w") as h5:
        for folder, tensors in (("out/", out), ("step/", steps)):
            for name, x in tensors.items():
                x = np.asarray(x)
                h5[folder + name] = x if x.dtype.kind in "iu" or name == "sample_keys" else x.astype(np.float32)


# ---- one check --------------------------------------------------------------------------------------------------------------------------------

class Result:
    """What check said of one candidate."""

    def __init__(self, golden, candidate, dtype, flags):
        report = candidate[:-3] + ".json"
        self.status, self.text = command([PFC_REF, "check", golden, candidate, "--dtype", dtype, "--json", report] + flags)
        self.ratio, self.first, self.found, self.why = float("nan"), "", "", []
        if self.status in (0, 1):
            with open(report) as file:
                told = json.load(file)
            ratios = [float(t["worst_ratio"]) for t in told["tensors"] if t["tensor"].startswith("/out/")]
            self.ratio, self.first = max(ratios), told.get("first_divergence", "").replace("/step/", "")
            wrong = [t for t in told["tensors"] if t["verdict"] != "PASS"]
            self.found = min((t["failed_gate"] for t in wrong if t["tensor"].startswith("/out/") and "failed_gate" in t), default="step" if wrong else "")
            self.why = ["%s %s" % (t["tensor"], reason(t)) for t in wrong]
            os.remove(report)
        os.remove(candidate)


def reason(t):
    """Why check does not let a tensor pass."""
    gate = t.get("failed_gate", t["verdict"])
    numbers = {"G1": ("worst_ratio",), "G2": ("rms", "rms_limit"), "G3": ("slope_error", "slope_limit", "mean_error", "mean_limit"),
               "G4": ("invariant", "invariant_error", "invariant_limit")}.get(gate, ())
    return " ".join([gate] + ["%s=%s" % (n, t[n] if isinstance(t[n], str) else "%.3g" % t[n]) for n in numbers if n in t])


class Proof:
    def __init__(self, options, work):
        self.options, self.work, self.pool = options, work, ThreadPoolExecutor(2 * os.cpu_count())
        self.count, self.turn, self.failed = 0, 0, []
        self.rows = {"wrong": {}, "right": {}}  # (family, item) -> (algorithm, item, {dtype: [Result]})

    def goldens(self, family, seed):
        names = {x.golden for kind in (family.WRONG, family.RIGHT) for x in self.chosen(kind)}
        specs = {name: family.GOLDENS[name] for name in names}
        groups = ["f32"] + [t for t in self.options.types if t != "f32"]  # gate G2 needs f32, too
        groups += [t + "-rz" for t in self.options.types if t in ("tf32", "bf16")]
        made = {name: self.pool.submit(make_golden, spec, seed, groups, os.path.join(self.work, "%s_%d_%s" % (family.NAME, seed, name)))
                for name, spec in specs.items()}
        return {name: (f.result(), read(f.result(), specs[name].ranks)) for name, f in made.items()}

    def chosen(self, ports):
        """Of family.WRONG or family.RIGHT."""
        kind = "wrong" if hasattr(ports[0], "step") else "right"
        return [x for x in ports if self.options.only in x.name + " " + x.golden and self.options.kind in (None, kind)]

    def types_of(self, item):
        """The types a port is tried in; in a quick run one of them."""
        types, wrong = self.options.types, hasattr(item, "step")
        if not wrong and (item.options.get("truncate") or item.options.get("finer")):
            types = [t for t in types if t in ("tf32", "bf16")]
        if wrong:
            types = [t for t in types if t in item.types]
        self.turn += not wrong
        return types if not self.options.quick else types[-1:] if wrong else [types[self.turn % len(types)]]

    def try_port(self, kind, family, item, golden, dtype, q, change):
        path, case = golden
        self.count += 1
        candidate = os.path.join(self.work, "candidate%d.h5" % self.count)
        with np.errstate(all="ignore"):
            write(candidate, *family.port(case, q, change))
        kept = self.rows[kind].setdefault((family.NAME, str(item)), (case.algorithm, item, {}))[2]
        flags = ["--operand-rounding", "rz"] if q.truncate else []
        kept.setdefault(dtype, []).append(self.pool.submit(Result, path, candidate, dtype, flags))

    def run(self, family, seed):
        goldens = self.goldens(family, seed)
        for fault in self.chosen(family.WRONG):
            for dtype in self.types_of(fault):
                self.try_port("wrong", family, fault, goldens[fault.golden], dtype, Precision(dtype), fault.name)
        for item in self.chosen(family.RIGHT):
            for dtype in self.types_of(item):
                self.try_port("right", family, item, goldens[item.golden], dtype, Precision(dtype, **item.options), item.name)

    def judge(self):
        """Waits for the checks; a line for each that is not as it should be."""
        for kind, rows in self.rows.items():
            for algorithm, item, by_type in rows.values():
                for dtype, futures in by_type.items():
                    by_type[dtype] = [f.result() for f in futures]
                    name = title(item) if kind == "right" else item.name
                    self.judge_one(kind, "%s, %s, %s, %s" % (algorithm, item.golden, name, dtype), item, by_type[dtype])

    def judge_one(self, kind, what, item, results):
        want = 1 if kind == "wrong" else 0
        for seed, r in enumerate(results, 1):
            if r.status != want:
                self.failed.append("%s, seed %d: check ended with %d, expected %d; largest ratio %.3g; %s%s" %
                                   (what, seed, r.status, want, r.ratio, ", ".join(r.why), r.text if r.status > 1 else ""))
            elif kind == "wrong" and r.first != item.step:
                self.failed.append("%s, seed %d: first step %s, expected %s" % (what, seed, r.first or "none", item.step or "none"))


# ---- tables -----------------------------------------------------------------------------------------------------------------------------------

def number(x):
    return "not finite" if x == float("inf") else "%.2g" % x


def least(results):
    """The smallest ratio, and what found the fault where that is below 1: a gate on a whole tensor, or a step."""
    r = min(results, key=lambda r: r.ratio)
    accepted = any(x.status == 0 for x in results)
    return number(r.ratio) + (" ACCEPTED" if accepted else " (%s)" % r.found if r.ratio <= 1 and r.found else "")


def most(results):
    """The largest ratio of right ports, and what check holds against one."""
    rejected = [x.found for x in results if x.status != 0]
    return number(max(r.ratio for r in results)) + (" REJECTED (%s)" % rejected[0] if rejected else "")


def wrong_table(rows, types):
    lines = ["| algorithm | golden | fault | first step | " + " | ".join(types) + " |", "| --- " * (4 + len(types)) + "|"]
    for algorithm, item, by_type in rows.values():
        lines.append("| %s | %s | %s | %s | %s |" % (algorithm, item.golden, item.name, item.step, " | ".join(
            least(by_type[t]) if t in by_type else "" for t in types)))
    return lines


def right_table(rows, types):
    lines = ["| algorithm | golden | variant | " + " | ".join(types) + " |", "| --- " * (3 + len(types)) + "|"]
    for algorithm, item, by_type in rows.values():
        lines.append("| %s | %s | %s | %s |" % (algorithm, item.golden, title(item), " | ".join(
            most(by_type[t]) if t in by_type else "" for t in types)))
    return lines


def title(item):
    extra = {"sequential": "sequential sums", "reversed": "terms and ranks in reverse order", "float64": "float64 inside", "pairwise": ""}
    words = [extra[item.options.get("sums", "pairwise")], "products stored in the type" if item.options.get("stored") else "",
             "float32 throughout" if item.options.get("finer") else "", "operands truncated" if item.options.get("truncate") else ""]
    return ", ".join([item.name] * bool(item.name) + [w for w in words if w]) or "plain"


INTRODUCTION = """`tests/wrong_ports.py --seeds %d --write doc/wrong-ports.md` made this; `make check` runs the same ports in short. The ports are plain NumPy
(`tests/ports`, one file a family, where the goldens are described, too) on simulated ranks, with the operands of products, or in families without products the
real inputs, rounded to the type: %d wrong ones, each with one change, and %d right ones, over seeds 1 to %d.

The ratio is the largest error/bound over all of /out, of wrong ports the smallest over the seeds, of right ones the largest. Below 1 the word behind it says what
found the fault: G2, the rms error of a whole tensor, G3, a slope or a mean, or a step. First step: what check names as the first divergence; none where only
results are wrong. "not finite": NaN for a number, a number for NaN, or another integer.
An empty place: the fault is smaller than what the type's rounding may do, and is not tried in it.
ACCEPTED of a wrong one and REJECTED of a right one, in some seed, are faults of check.

Not in the tables: the last of equal sub-centers for the first. It is a tie within rounding, so the element's bound is infinite; with many such ties (fill lattice)
f32 accepts it and gate G3 rejects it in tf32 and bf16 for some seeds. And a factor that later steps take out again, as 1/N for 1/K in Sinkhorn's targets (tried): no
result and no step shows it. In sinkhorn, batch_norm and group_gather the inputs' roundings are known, and the bounds of a short type
are little more than what they cost: right ports come near 1 and never above."""


def document(proof, types, seeds):
    wrong, right = proof.rows["wrong"], proof.rows["right"]
    return "\n".join(["# What check rejects and accepts", "", INTRODUCTION % (seeds, len(wrong), len(right), seeds), "", "## Wrong ports", ""] +
                     wrong_table(wrong, types) + ["", "## Right ports", ""] + right_table(right, types)) + "\n"


def listed(text):
    """The ports of a document, without the numbers."""
    return [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in text.splitlines() if re.match(r"\| (?!algorithm|---)", line)]


def main():
    parse = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parse.add_argument("--seeds", type=int, default=1)
    parse.add_argument("--family", choices=FAMILIES)
    parse.add_argument("--only", default="", help="ports whose name or golden contains this")
    parse.add_argument("--kind", choices=("wrong", "right"), help="only these")
    parse.add_argument("--types", default=",".join(TYPES), help="of f32, tf32, bf16, f16")
    parse.add_argument("--write", metavar="FILE")
    parse.add_argument("--keep", metavar="FOLDER", help="where the goldens stay")
    options = parse.parse_args()
    options.types = options.types.split(",")
    options.quick = len(sys.argv) == 1
    work = options.keep or os.path.join("tests", "wrong_ports.dir")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    proof = Proof(options, work)
    for seed in range(1, options.seeds + 1):
        for name in [options.family] if options.family else FAMILIES:
            family = importlib.import_module("ports." + name)
            family.NAME = name
            proof.run(family, seed)
    proof.judge()
    text = document(proof, options.types, options.seeds)
    print(text)
    if options.write:
        with open(options.write, "w") as file:
            file.write(text)
    elif options.quick:
        with open(DOC) as file:
            if listed(file.read()) != listed(text):
                proof.failed.append("doc/wrong-ports.md lists other ports than are tried here: make it again with --write")
    if not options.keep:
        shutil.rmtree(work)
    print("\n".join("FAIL " + line for line in proof.failed))
    print("%d checks, %d not as expected" % (proof.count, len(proof.failed)))
    return 1 if proof.failed else 0


if __name__ == "__main__":
    sys.exit(main())
