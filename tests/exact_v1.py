#!/usr/bin/env python3
"""Compares results with exact-v1 in Python integers (exact_v1_core.py and a module for each family), bit for bit: the test of the tests.

    exact_v1.py RESULT.h5... [--ranks P]           recompute a result of `pfc_ref run CASE.h5 -o RESULT.h5 --steps` and compare it bit for bit
    exact_v1.py --expect CASE.h5 [--ranks P]       compare with /expect of a case, to 1e-9 of each tensor's largest value
    exact_v1.py --self-test                        known answers: Philox, constants, elementwise functions, those of the families

--ranks wins over /param/world, the default is 1. A family's module has run(algorithm, param, inputs, ranks) -> (out, step): names -> nested lists
or arrays, exactly the tensors that a result must have; Moved(x) where zeros keep their sign. Its self_test(check), if there is one, checks
known answers. Exit status: 0 all equal, 1 something differs or a file is not what it should be.
"""
import argparse
import importlib
import math
import os
import sys
from fractions import Fraction

from exact_v1_core import (INF, LN2HI, LN2LO, LOG2E, P1, P2, P3, TWO_OVER_PI, Moved, canonical, fma, philox4x32, px_exp, px_log, px_sincos, rn)

MODULES = {"partial_fc": "partial_fc", "arcface_head": "arcface", "adaptive_margins": "arcface", "sinkhorn": "swav", "swav": "swav",
           "lr_schedule": "swav", "moco_shuffle": "moco", "moco": "moco", "group_gather": "batch_norm", "batch_norm": "batch_norm"}
REAL64 = {"margins", "sample_keys"}  # inputs that are not rounded to float32


def has_module(algorithm):
    return os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "exact_v1_%s.py" % MODULES[algorithm]))


def module_of(algorithm):
    if algorithm not in MODULES:
        raise SystemExit("algorithm %s: not one of %s" % (algorithm, ", ".join(MODULES)))
    if not has_module(algorithm):
        raise SystemExit("algorithm %s: there is no exact_v1_%s.py" % (algorithm, MODULES[algorithm]))
    return importlib.import_module("exact_v1_" + MODULES[algorithm])


# ---- case files ------------------------------------------------------------------------------------------------------------------------------

def scalar(value):
    """An HDF5 attribute as int, float or str."""
    value = value.reshape(-1)[0] if hasattr(value, "reshape") else value
    value = value.decode() if isinstance(value, bytes) else value
    return value.item() if hasattr(value, "item") else value


def read_case(h5):
    """Algorithm, /param and /in: arrays of int64, or of float64 with values rounded to float32."""
    import numpy as np

    def array(name, a):
        if a.dtype.kind in "iu":
            return a.astype(np.int64)
        with np.errstate(over="ignore"):
            return a.astype(np.float64) if name in REAL64 else a.astype(np.float32).astype(np.float64)

    param = {name: scalar(value) for name, value in h5["param"].attrs.items()}
    inputs = {name: array(name, data[()]) for name, data in h5["in"].items()} if "in" in h5 else {}
    return scalar(h5.attrs["algorithm"]), param, inputs


def bits(array):
    """Canonical doubles as integers, so that equality is equality of bits."""
    import numpy as np
    return np.vectorize(canonical, otypes=[np.float64])(array).view(np.uint64) if array.size else array


def describe(array, flat):
    import numpy as np
    value = array.reshape(-1)[flat]
    return "%d" % value if array.dtype.kind in "iu" else "%s (%.17g)" % (float(value).hex() if np.isfinite(value) else value, value)


def compare_bits(name, got, want, quiet):
    """One line for a tensor; True if it is equal bit for bit, NaN equal to NaN. What is stored must be canonical already. Quiet: differences only."""
    import numpy as np
    moved = isinstance(want, Moved)
    want = np.array(want.value if moved else want)
    want = want if want.dtype.kind in "iu" else want.astype(np.float64)
    if got.dtype != want.dtype or got.shape != want.shape:
        print("%-24s DIFFERENT: found %s %s, expected %s %s" % (name, got.dtype, got.shape, want.dtype, want.shape))
        return False
    flat = [a.reshape(-1) for a in (got, want)]
    left, right = flat if want.dtype.kind in "iu" else (flat[0].view(np.uint64), flat[1].view(np.uint64) if moved else bits(flat[1]))
    wrong = np.flatnonzero(left != right)
    if wrong.size:
        where = tuple(int(k) for k in np.unravel_index(wrong[0], want.shape))
        print("%-24s DIFFERENT: %d of %d, first at %s: found %s, expected %s"
              % (name, wrong.size, want.size, where, describe(got, wrong[0]), describe(want, wrong[0])))
        return False
    if not quiet:
        print("%-24s equal, %d elements" % (name, want.size))
    return True


def compare_near(name, got, want, tolerance=1e-9):
    """One line for a tensor; True if it is equal to 1e-9 of its largest value, NaN where NaN is expected. Integers exactly."""
    import numpy as np
    tolerance = 0.0 if want.dtype.kind in "iu" else tolerance
    got, want = np.array(got.value if isinstance(got, Moved) else got, dtype=np.float64), want.astype(np.float64)
    same = got.shape == want.shape and np.array_equal(np.isfinite(got), np.isfinite(want))
    good = np.isfinite(want)
    same = same and np.array_equal(got[~good], want[~good], equal_nan=True)
    largest = np.max(np.abs(want[good]), initial=0.0)
    error = np.max(np.abs(got[good] - want[good]), initial=0.0) if same else INF
    same = same and bool(error <= tolerance * largest)
    print("%-24s %s, error %.3g of %.3g" % (name, "close" if same else "DIFFERENT", error, largest))
    return same


def compare_group(h5, group, want, quiet):
    """Every tensor of a group of the file, and none missing."""
    found, good = (set(h5[group]) if group in h5 else set()), True
    for name in sorted(found | set(want)):
        item = "/%s/%s" % (group, name)
        if name in found and name in want:
            good = compare_bits(item, h5[item][()], want[name], quiet) and good
        else:
            print("%-24s DIFFERENT: %s" % (item, "missing" if name in want else "not a result of this case"))
            good = False
    return good


def check_file(path, ranks, near, quiet):
    import h5py
    with h5py.File(path, "r") as h5:
        algorithm, param, inputs = read_case(h5)
        out, step = module_of(algorithm).run(algorithm, param, inputs, ranks or param.get("world") or 1)
        if near:
            return all([compare_near("/expect/" + name, out[name], h5["expect"][name][()]) for name in h5["expect"]])
        good = compare_group(h5, "out", out, quiet)
        return (compare_group(h5, "step", step, quiet) if "step" in h5 else True) and good


# ---- known answers ---------------------------------------------------------------------------------------------------------------------------

def series_pi_half(bits_wanted=400):
    """pi/2 by Machin's formula: 2*(4 atan(1/5) - atan(1/239))."""
    def atan_inverse(n):
        one, total, k = 1 << bits_wanted, 0, 0
        while one // n ** (2 * k + 1):
            total += (-1) ** k * (one // ((2 * k + 1) * n ** (2 * k + 1)))
            k += 1
        return Fraction(total, one)
    return 2 * (4 * atan_inverse(5) - atan_inverse(239))


def self_test_constants(check):
    pi_half = series_pi_half()
    ln2 = sum(Fraction(1, j * 2**j) for j in range(1, 200))
    check("P1", P1 == rn(pi_half))
    check("P2", P2 == rn(pi_half - Fraction(P1)))
    check("P3", P3 == rn(pi_half - Fraction(P1) - Fraction(P2)))
    check("2/pi", TWO_OVER_PI == rn(1 / pi_half))
    check("log2 e", LOG2E == rn(1 / ln2))
    check("ln 2 in two parts", LN2LO == rn(ln2 - Fraction(LN2HI)) and Fraction(LN2HI) * 2**40 % 256 == 0)


def self_test_functions(check):
    for j in range(-7000, 7000, 97):
        x = j / 10.0
        check("exp(%g)" % x, abs(px_exp(x) - math.exp(x)) <= 2.3e-16 * math.exp(x))
        y = math.ldexp(1.0 + abs(math.sin(j)), j // 7)
        check("log(%g)" % y, abs(px_log(y) - math.log(y)) <= 2.3e-16 * abs(math.log(y)))
        s, c = px_sincos(x / 10)
        check("sincos(%g)" % (x / 10), abs(s - math.sin(x / 10)) <= 2.3e-16 and abs(c - math.cos(x / 10)) <= 2.3e-16)
    check("exp limits", px_exp(-708.5) == 0 and px_exp(709.8) == INF and px_exp(-INF) == 0 and px_exp(0.0) == 1)
    check("log limits", px_log(0.0) == -INF and px_log(INF) == INF and math.isnan(px_log(-1.0)) and px_log(1.0) == 0)
    check("fma", fma(1 + 2.0**-52, 1 - 2.0**-52, -1.0) == -(2.0**-104) and fma(1e308, 10.0, -INF) == -INF)


def self_test_philox(check):
    ones = 0xFFFFFFFF
    for counter, key, want in (
            ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
            ([ones] * 4, [ones] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
            ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1])):
        check("Philox4x32-10 of %08x" % counter[0], philox4x32(counter, key) == want)


def self_tests():
    """Those of the shared part and of every family that is there."""
    tests = [("exact_v1_core." + f.__name__[10:], f) for f in (self_test_philox, self_test_constants, self_test_functions)]
    for module in {MODULES[a]: module_of(a) for a in MODULES if has_module(a)}.values():
        if hasattr(module, "self_test"):
            tests.append((module.__name__, module.self_test))
    return tests


def self_test():
    failures = []

    def check(name, good):
        if not good:
            failures.append(name)
            print("FAILED: " + name)
    for name, test in self_tests():
        before = len(failures)
        test(check)
        print("%-24s %s" % (name, "good" if len(failures) == before else "BAD"))
    return not failures


def main():
    parser = argparse.ArgumentParser(description="exact-v1 in Python integers")
    parser.add_argument("file", nargs="*", metavar="RESULT.h5")
    parser.add_argument("--ranks", type=int, default=0, help="number of ranks of the run")
    parser.add_argument("--expect", action="store_true", help="compare with /expect to 1e-9 instead")
    parser.add_argument("--quiet", action="store_true", help="print differences only")
    parser.add_argument("--self-test", action="store_true", help="known answers")
    options = parser.parse_args()
    if not options.file and not options.self_test:
        parser.error("a file or --self-test")
    good = self_test() if options.self_test else True
    for path in options.file:
        if not options.quiet:
            print("%s" % path)
        same = check_file(path, options.ranks, options.expect, options.quiet)
        if options.quiet:
            print("%-40s %s" % (path, "equal" if same else "DIFFERENT"))
        good = good and same
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
