#!/usr/bin/env python3
"""Compares results of partial_fc with exact-v1 in Python integers (exact_v1_spec.py), bit for bit: the test of the tests.

    exact_v1.py RESULT.h5... [--ranks P]           recompute a result of `pfc_ref run CASE.h5 -o RESULT.h5 --steps` and compare it bit for bit
    exact_v1.py --expect CASE.h5 [--ranks P]       compare with /expect of a case, to 1e-9 of each tensor's largest value
    exact_v1.py --self-test                        known answers: Philox, constants, elementwise functions, semantics 10.1

The number of ranks matters for the sampling rule `shard` and the default of xgrad_scale only; --ranks wins over /param/world, the default is 1.
Exit status: 0 all equal, 1 something differs or a file is not what it should be.
"""
import argparse
import math
import sys
from fractions import Fraction

from exact_v1_spec import (INF, LN2HI, LN2LO, LOG2E, P1, P2, P3, TWO_OVER_PI, canonical, fma, philox4x32, px_exp, px_log, px_sincos, rn,
                           run, samples)

# ---- case files ------------------------------------------------------------------------------------------------------------------------------

DEFAULTS = {"margin": 0.0, "sample_rate": 1.0, "num_sample": None, "sample_rule": "shard", "seed": 0, "first_step": 0, "lr": 0.0, "momentum": 0.9,
            "weight_decay": 0.0, "nesterov": 0, "steps": 1, "xgrad_scale": None, "loss": "clamp", "arc_gradient": "exact", "arc_fallback": "none",
            "cos_clamp": 0, "interclass_threshold": 0.0, "momentum_rule": "lazy", "unowned_label": "source"}
INTEGERS = {"num_sample", "seed", "first_step", "nesterov", "steps", "cos_clamp", "world", "allow_nonfinite"}
OUT = ["loss", "x_grad", "weight_grad", "weight", "weight_momentum", "sampled"]
STEP = ["sample_keys", "cosine", "logits", "row_max", "row_sum", "prob_target", "dlogits"]


def scalar(value):
    """An HDF5 attribute as a Python value."""
    value = value.reshape(-1)[0] if hasattr(value, "reshape") else value
    value = value.decode() if isinstance(value, bytes) else value
    return value.item() if hasattr(value, "item") else value


def read_params(group):
    param = dict(DEFAULTS)
    for name, value in group.attrs.items():
        value = scalar(value)
        param[name] = value if isinstance(value, str) else int(value) if name in INTEGERS else float(value)
    return param


def read_case(h5):
    """/param and /in as Python numbers; real inputs are rounded to float32. What may change with the step is a function of it."""
    import numpy as np
    algorithm = scalar(h5.attrs["algorithm"])
    if algorithm != "partial_fc":
        raise SystemExit("algorithm %s: this is for partial_fc only" % algorithm)
    param = read_params(h5["param"])

    def real(name):
        with np.errstate(over="ignore"):
            return h5["in"][name][()].astype(np.float32).astype(np.float64)

    def per_step(array, ndim):
        return (lambda t: None) if array is None else (lambda t: (array if array.ndim == ndim else array[t]).tolist())

    features, weight = real("features"), real("weight")
    momentum = real("weight_momentum") if "weight_momentum" in h5["in"] else 0.0 * np.zeros_like(weight)
    keys = h5["in/sample_keys"][()].astype(np.float64) if "sample_keys" in h5["in"] else None
    return {"param": param, "weight": weight.tolist(), "weight_momentum": momentum.tolist(), "features": per_step(features, 2),
            "labels": per_step(h5["in/labels"][()].astype(np.int64), 1), "sample_keys": per_step(keys, 1),
            "x_grad_has_steps": features.ndim == 3 or param["steps"] != 1}


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
    want = np.array(want, dtype=np.int64 if name == "/out/sampled" else np.float64)
    if got.dtype != want.dtype or got.shape != want.shape:
        print("%-24s DIFFERENT: found %s %s, expected %s %s" % (name, got.dtype, got.shape, want.dtype, want.shape))
        return False
    left, right = (got.copy(), want) if want.dtype == np.int64 else (got.copy().view(np.uint64), bits(want))
    wrong = np.flatnonzero(left.reshape(-1) != right.reshape(-1))
    if wrong.size:
        where = tuple(int(k) for k in np.unravel_index(wrong[0], want.shape))
        print("%-24s DIFFERENT: %d of %d, first at %s: found %s, expected %s"
              % (name, wrong.size, want.size, where, describe(got, wrong[0]), describe(want, wrong[0])))
        return False
    if not quiet:
        print("%-24s equal, %d elements" % (name, want.size))
    return True


def compare_near(name, got, want):
    """One line for a tensor; True if it is equal to 1e-9 of its largest value, NaN where NaN is expected. Integers exactly."""
    import numpy as np
    got, want = np.array(got, dtype=np.float64), want.astype(np.float64)
    same = got.shape == want.shape and np.array_equal(np.isfinite(got), np.isfinite(want))
    good = np.isfinite(want)
    same = same and np.array_equal(got[~good], want[~good], equal_nan=True)
    largest = np.max(np.abs(want[good]), initial=0.0)
    error = np.max(np.abs(got[good] - want[good]), initial=0.0) if same else INF
    same = same and bool(error <= (0 if name.endswith("/sampled") else 1e-9 * largest))
    print("%-24s %s, error %.3g of %.3g" % (name, "close" if same else "DIFFERENT", error, largest))
    return same


def check_file(path, ranks, near, quiet):
    import h5py
    with h5py.File(path, "r") as h5:
        case = read_case(h5)
        out, steps = run(case, ranks or case["param"].get("world") or 1)
        if near:
            return all([compare_near("/expect/" + name, out[name], h5["expect"][name][()]) for name in h5["expect"]])
        pairs = [("/out/" + name, out[name]) for name in OUT]
        names = [name for name in STEP if name != "sample_keys" or samples(case["param"])]
        pairs += [("/step/" + name, steps[name]) for name in names] if "step" in h5 else []
        extra = ["/%s/%s" % (g, name) for g in ("out", "step") if g in h5 for name in h5[g] if "/%s/%s" % (g, name) not in dict(pairs)]
        good = not extra
        for name in extra:
            print("%-24s DIFFERENT: not a result of partial_fc" % name)
        for name, want in pairs:
            if name in h5:
                good = compare_bits(name, h5[name][()], want, quiet) and good
            else:
                print("%-24s DIFFERENT: missing" % name)
                good = False
    return good


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


def golden_case(ranks, **param):
    """semantics.md 10.1: inputs by a formula, in double."""
    def mat(seed, rows, cols):
        return [[math.sin(1.0 + 0.7 * (a * cols + b) + 1.3 * seed) for b in range(cols)] for a in range(rows)]
    case = {"param": dict(DEFAULTS, xgrad_scale=1.0, **param), "weight": mat(2, 5, 4), "weight_momentum": [[0.0] * 4 for _ in range(5)],
            "features": lambda t: mat(1, 4, 4), "labels": lambda t: [0, 3, 4, 1], "sample_keys": lambda t: [0.9, 0.8, 0.1, 0.9, 0.8],
            "x_grad_has_steps": False}
    return run(case, ranks)


GOLDEN = [  # head, scale, margin, gradient, loss, x_grad row 0, weight_grad of class 3
    ("linear", 1.0, 0.0, "exact", 1.589853494745, ".2044305994 .1848098000 .0782700640 -.0650813062", ".0823723796 .0261631471 -.0423510224 -.0909468443"),
    ("cos", 16.0, 0.4, "exact", 11.024397157547, "1.4442496734 2.0286100997 1.6588834982 .5089580667", ".0901167788 .0970635944 .0583598849 -.0077913904"),
    ("arc", 16.0, 0.5, "exact", 11.219629818744, "1.4735162361 2.0697182583 1.6924994434 .5192716943", ".1311140711 .1412212375 .0849098492 -.0113359679"),
    ("circle", 16.0, 0.25, "exact", 16.812555530310, "1.4531952246 2.0411751262 1.6691584718 .5121105067", ".4066774891 .4380269620 .2633655104 -.0351608560"),
    ("arc", 16.0, 0.5, "straight_through", 11.219629818744, "1.4442496943 2.0286101291 1.6588835223 .5089580741",
     ".0899168076 .0968482081 .0582303830 -.0077741011"),
]


def self_test_golden(check):
    def near(got, want, digits):
        return len(got) == len(want) and all(abs(g - w) <= 0.6 * 10.0**-digits for g, w in zip(got, want))

    def numbers(text):
        return [float(x) for x in text.split()]

    for head, s, m, gradient, loss, x_row, w_row in GOLDEN:
        out, steps = golden_case(1, head=head, scale=s, margin=m, arc_gradient=gradient)
        name = "golden %s %s" % (head, gradient)
        check(name + " loss", near(out["loss"], [loss], 12))
        check(name + " x_grad", near(out["x_grad"][0], numbers(x_row), 10))
        check(name + " weight_grad", near(out["weight_grad"][3], numbers(w_row), 10))
        if head == "cos":
            check(name + " cosine", near(steps["cosine"][0], numbers("0.2871630367 -0.5608121071 0.7940457061 -0.9544818142 0.9971923844"), 10))
            check(name + " row_sum", near(steps["row_sum"], [1.038760780570, 1.084040946415, 1.070352580056, 1.000271747201], 12))
    out, _ = golden_case(2, head="cos", scale=16.0, margin=0.4, num_sample=2)
    check("golden sampled", out["sampled"] == [1, 1, 0, 1, 1] and near(out["loss"], [11.007816606866], 12))


def self_test():
    failures = []

    def check(name, good):
        if not good:
            failures.append(name)
            print("FAILED: " + name)
    for test in (self_test_philox, self_test_constants, self_test_functions, self_test_golden):
        before = len(failures)
        test(check)
        print("%-24s %s" % (test.__name__, "good" if len(failures) == before else "BAD"))
    return not failures


def main():
    parser = argparse.ArgumentParser(description="exact-v1 of partial_fc in Python integers")
    parser.add_argument("file", nargs="*", metavar="RESULT.h5")
    parser.add_argument("--ranks", type=int, default=0, help="number of ranks, for sampling by shard")
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
