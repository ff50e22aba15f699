"""What a port in tf32, bf16 or f16 computes, in float64 NumPy with rounded operands, for tests/driver_emulate.sh.

    emulated_ports.py ports TYPE RESULT...            results of `run --mode exact --emulate TYPE --steps` have these numbers; TYPE also with -stored
    emulated_ports.py rms TYPE (GOLDEN RESULT)...     attribute rms of a golden's bounds says how far such a result is from the golden
    emulated_ports.py rounded TYPE CASE OUT           the case with its narrow inputs rounded, to be run as it is
    emulated_ports.py same FILE FILE NAME...          datasets have the same bits

Exit status 0: all as said.
"""
import sys

import h5py
import numpy as np

from exact_v1 import read_case
from make_tiny_cases import write

DIGITS = {"tf32": (11, -126), "bf16": (8, -126), "f16": (11, -14)}  # digits of the significand, exponent of the smallest normal number
NARROW = {"sinkhorn": ["scores"], "batch_norm": ["x", "grad_y"], "group_gather": ["input", "grad_output"], "moco_shuffle": ["x"]}


def rounder(name):
    digits, least = DIGITS[name]

    def to(x):
        x = np.asarray(x, np.float64)
        unit = np.ldexp(1.0, np.maximum(np.frexp(x)[1] - 1, least) - digits + 1)
        return np.where(np.isfinite(x), np.rint(x / unit) * unit, x)

    if name == "f16":
        x = np.random.default_rng(1).normal(size=100000) * 10.0 ** np.random.default_rng(2).uniform(-9, 4, 100000)
        assert (to(x) == x.astype(np.float16)).all()
    return to


def f32(x):
    return x.astype(np.float32).astype(np.float64)


kept = f32  # how the result of a product is kept


def unit(x):
    n = np.sqrt((x * x).sum(-1, keepdims=True))
    return x / n, n


def back(g, u, n):
    """Backward of the normalisation."""
    return (g - u * (g * u).sum(-1, keepdims=True)) / n


def partial_fc(to, param, inputs, out, step):
    (x, nx), (w, nw) = unit(inputs["features"]), unit(inputs["weight"])
    if param["head"] == "linear":
        x, w = inputs["features"], inputs["weight"]
    yield "cosine", step["cosine"], kept(to(x) @ to(w).T)
    assert param["head"] in ("linear", "cos")
    h = to(step["dlogits"] * param["scale"])
    F, dw = kept(h @ to(w)), kept(h.T @ to(x))
    if param["head"] != "linear":
        F, dw = back(F, x, nx), back(dw, w, nw)
    yield "x_grad", out["x_grad"], F * param["xgrad_scale"]
    yield "weight_grad", out["weight_grad"], dw


def arcface_head(to, param, inputs, out, step):
    x, w = unit(inputs["features"])[0], unit(inputs["weight"])[0]
    cosine = kept(to(x) @ to(w).T).reshape(len(x), -1, param["num_subcenters"]).max(-1)
    yield "cosine", step["cosine"], cosine


def swav(to, param, inputs, out, step):
    (z, nz), (c, _) = unit(inputs["embedding"]), unit(inputs["prototypes"])
    h = to(step["dscores"])
    yield "scores", step["scores"], kept(to(z) @ to(c).T)
    yield "embedding_grad", out["embedding_grad"], back(kept(h @ to(c)), z, nz)
    yield "prototypes_grad", out["prototypes_grad"], kept(np.einsum("pnk,pnd->kd", h, to(z))) / len(z)


def moco(to, param, inputs, out, step, ranks=1):
    (q, nq), (k, _), s = unit(inputs["query"]), unit(inputs["key"]), 1.0 / param["temperature"]
    u = inputs["queue"]
    logits = np.concatenate([kept((to(q) * to(k)).sum(-1, keepdims=True)), kept(to(q) @ to(u).T)], 1) * s
    yield "logits", step["logits"], logits
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[:, 0] -= 1
    h = to(p * s / len(q))
    yield "query_grad", out["query_grad"], back(kept(kept(h[:, 1:] @ to(u)) + h[:, :1] * to(k)), q, nq)


def open_result(path):
    with h5py.File(path) as h5:
        algorithm, param, inputs = read_case(h5)
        return (algorithm, param, inputs) + tuple({n: d[()] for n, d in h5[g].items()} if g in h5 else {} for g in ("out", "step"))


def ports(to, paths):
    good = True
    for path in paths:
        algorithm, param, inputs, out, step = open_result(path)
        for name, got, want in globals()[algorithm](to, param, inputs, out, step):
            worst = np.abs(got - want).max() / np.abs(want).max()
            if not worst < 2e-7 or got.shape != want.shape:
                good = print("%s: %s is off by %g of its largest" % (path, name, worst))
    return good is not None


def rms(name, golden, result):
    good, seen = True, 0
    with h5py.File(golden) as g, h5py.File(result) as r:
        for group in g["bound"][name]:
            for tensor, bound in g["bound"][name][group].items():
                if g[group][tensor].dtype.kind == "i":
                    continue
                error = (r[group][tensor][()] - g[group][tensor][()]).astype(np.float64)
                error = error[np.isfinite(error) & np.isfinite(bound[()])]
                want = np.sqrt((error * error).mean()) if error.size else 0.0
                seen += want > 0
                if not abs(bound.attrs["rms"] - want) <= 1e-12 * want or "rms" in g["bound/f32"][group][tensor].attrs:
                    good = print("%s: %s: rms %g, expected %g" % (golden, tensor, bound.attrs["rms"], want))
    return good is not None and seen > 0


def rounded(to, case, path):
    with h5py.File(case) as h5:
        algorithm, param, inputs = read_case(h5)
    for name in NARROW[algorithm]:
        if name in inputs:
            inputs[name] = to(inputs[name])
    write(path, algorithm, param, {n: x.astype(np.float32) if x.dtype.kind == "f" else x for n, x in inputs.items()})
    return True


def same(a, b, names):
    with h5py.File(a) as x, h5py.File(b) as y:
        different = [n for n in (names or ["out/" + n for n in x["out"]]) if x[n][()].tobytes() != y[n][()].tobytes()]
    return not different or print("%s and %s differ in %s" % (a, b, ", ".join(different))) is not None


if __name__ == "__main__":
    command, args = sys.argv[1], sys.argv[2:]
    if command == "same":
        ok = same(args[0], args[1], args[2:])
    elif command == "rms":
        ok = all([rms(args[0], *pair) for pair in zip(args[1::2], args[2::2])])
    elif command == "ports":
        to = rounder(args[0].replace("-stored", ""))
        if args[0].endswith("-stored"):
            kept = to
        ok = ports(to, args[1:])
    else:
        ok = rounded(rounder(args[0]), args[1], args[2])
    sys.exit(0 if ok else 1)
