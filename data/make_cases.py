#!/usr/bin/env python3
"""Writes the shipped cases (parameters and inputs only) into a folder; make_goldens.sh then makes the goldens in data/.

    python3 data/make_cases.py DIR [FAMILY...]          the shipped cases
    python3 data/make_cases.py --large DIR [FAMILY...]  cases too large to ship

A family is a file cases_FAMILY.py beside this one with SHIPPED (and LARGE, if there are any): file name -> function of a Source (case_source.py)
that returns (algorithm, parameters, inputs). The beginnings of its file names are in PREFIXES. A case that is defined for one number of ranks only
has the parameter `world`. STEPS, if it is there, names the shipped cases whose goldens hold the intermediate results, too: they go to DIR/steps.
"""
import argparse
import glob
import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "tools")]
from case_source import Source  # noqa: E402
from write_case import write_case  # noqa: E402

PREFIXES = {"partial_fc": ["pfc_"], "arcface": ["arc_", "margins_"], "swav": ["sk_", "swav_", "lr_"], "moco": ["shuffle_", "moco_"],
            "batch_norm": ["gather_", "bn_"]}


def families():
    return sorted(os.path.basename(path)[len("cases_"):-len(".py")] for path in glob.glob(os.path.join(HERE, "cases_*.py")))


def main():
    p = argparse.ArgumentParser(description="Writes the shipped cases.")
    p.add_argument("--large", action="store_true", help="the cases that are not shipped")
    p.add_argument("folder")
    p.add_argument("family", nargs="*", help="all if none is named")
    a = p.parse_args()
    for family in a.family or families():
        module = importlib.import_module("cases_" + family)
        for name, make in (getattr(module, "LARGE", {}) if a.large else module.SHIPPED).items():
            if not name.startswith(tuple(PREFIXES[family])):
                p.error(f"cases_{family}.py: {name}: expected a name that begins with {' or '.join(PREFIXES[family])}")
            folder = os.path.join(a.folder, "steps") if name in getattr(module, "STEPS", []) else a.folder
            os.makedirs(folder, exist_ok=True)
            write_case(os.path.join(folder, name + ".h5"), *make(Source(name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
