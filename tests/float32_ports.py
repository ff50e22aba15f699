"""Ports of Sinkhorn and MoCo to float32 NumPy, right ones and wrong ones, for tests/driver_ports.sh.

    float32_ports.py cases FOLDER          writes the cases beside the shipped ones; prints "RANKS NAME" of each
    float32_ports.py ports GOLDEN FOLDER   writes what the ports make of a golden; prints "STATUS FILE" of each, STATUS being what check has to say
"""
import os
import sys

import h5py
import numpy as np

from exact_v1 import read_case
from exact_v1_core import with_defaults
from exact_v1_moco import DEFAULTS as MOCO
from exact_v1_swav import SINKHORN
from make_tiny_cases import write

f32 = np.float32


# ---- Sinkhorn as published, semantics.md 5.5 -----------------------------------------------------------------------------------------------------

def shoot_infs(x):
    m = np.where(np.isinf(x), f32(0), x).max()
    return np.where(np.isinf(x), m, x)


def log_sum_exp(x, axis):
    m = x.max(axis, keepdims=True)
    return np.squeeze(m, axis) + np.log(np.exp(x - m).sum(axis))


def log_domain(a, iterations):
    f, g = np.zeros(a.shape[1], f32), np.zeros(a.shape[0], f32)
    for _ in range(iterations):
        f = -np.log(f32(a.shape[1])) - log_sum_exp(a + g[:, None], 0)
        g = -np.log(f32(a.shape[0])) - log_sum_exp(a + f, 1)
    return np.exp(a + f - log_sum_exp(a + f, 1)[:, None])


def sinkhorn(p, ranks, scores, fault=""):
    """scores (N,K)."""
    (N, K), iterations = scores.shape, p["iterations"] - (fault == "one iteration too few")
    a = scores / f32(p["epsilon"] * (1.02 if fault == "epsilon off by 2 %" else 1))
    if p["version"] == "log":
        return log_domain(a, iterations)
    parts = np.split(np.exp(a - a.max() if p["stabilise"] else a), ranks)
    Q = np.concatenate([shoot_infs(x) for x in parts] if p["version"] != "v2" else parts)
    Q = Q / Q.sum()
    for _ in range(iterations):
        u = Q[:N // 2].sum(0) if fault == "row sums of one rank" else Q.sum(0)
        if p["version"] == "vissl" and (u == 0).any():
            Q = Q + f32(1e-12)
            u = Q.sum(0)
        Q = Q / u / f32(K) if p["version"] == "v2" else Q * shoot_infs(f32(1 / K) / u)
        if fault != "columns left out":
            Q = Q / Q.sum(1, keepdims=True) / f32(N)
    if fault == "no final normalisation":
        return Q
    return Q * f32(N) if p["version"] == "v2" else Q / Q.sum(1, keepdims=True)


SINKHORN_FAULTS = ("one iteration too few", "epsilon off by 2 %", "row sums of one rank", "no final normalisation", "columns left out")


def sinkhorn_ports(p, ranks, inputs):
    scores = inputs["scores"].astype(f32)
    yield 0, "right", {"assignment": sinkhorn(p, ranks, scores)}
    if np.isnan(sinkhorn(p, ranks, scores)).any():
        yield 1, "0 for NaN", {"assignment": np.nan_to_num(sinkhorn(p, ranks, scores))}
        return
    for fault in SINKHORN_FAULTS if p["version"] == "v1" and p["iterations"] > 1 else ():
        yield 1, fault, {"assignment": sinkhorn(p, ranks, scores, fault)}


# ---- MoCo's loss and its gradient, semantics.md 6.4 -----------------------------------------------------------------------------------------------

def unit(x):
    n = np.sqrt((x * x).sum(1, keepdims=True))
    return x / n, n


def moco(p, ranks, x, fault=""):
    b, s = len(x["query"]) // ranks, f32(1 / p["temperature"])
    (q, n), k, u = unit(x["query"]), unit(x["key"])[0], x["queue"]
    logits = np.concatenate([(q * k).sum(1, keepdims=True), q @ u.T], 1) * s
    top = logits.max(1, keepdims=True)
    e = np.exp(logits - top)
    total = e.sum(1, keepdims=True)
    h = e / total
    h[:, 0] -= 1
    g = (h[:, :1] * k + h[:, 1:] @ u) * (s / f32(b))
    along = (q * g).sum(1, keepdims=True)
    return {"loss": (np.log(total) + top - logits[:, :1]).reshape(ranks, b).mean(1), "query_grad": (g if fault else g - q * along) / n}


def moco_ports(p, ranks, inputs):
    x = {name: value.astype(f32) for name, value in inputs.items()}
    yield 0, "right", moco(p, ranks, x)
    yield 1, "no projection", moco(p, ranks, x, "no projection")


# ---- cases ----------------------------------------------------------------------------------------------------------------------------------------

def certain_rows():
    """Logits of 100,000: every row is certain, and of a negative; its gradient is as large as any."""
    rng = np.random.RandomState(1)
    query, noise, queue = (rng.standard_normal(shape) for shape in ((8, 128), (8, 128), (32, 128)))
    queue[:8] = query + noise / 10
    queue /= np.sqrt((queue**2).sum(1, keepdims=True))
    inputs = {"params_q": np.ones(2), "params_k": np.ones(2), "query": query, "key": query + noise, "queue": queue}
    return {"temperature": 1e-5, "world": 2}, {name: x.astype(f32) for name, x in inputs.items()}


def nobody():
    """A prototype without mass: 0/0, and everything is NaN."""
    scores = np.random.RandomState(2).uniform(-1, 1, (8, 4)).astype(f32)
    scores[:, 1] = -50
    return {"version": "v2"}, {"scores": scores}


def write_cases(folder):
    write(os.path.join(folder, "moco_certain.h5"), "moco", *certain_rows())
    write(os.path.join(folder, "sk_nobody.h5"), "sinkhorn", *nobody())
    print(2, "moco_certain")
    print(2, "sk_nobody")


def write_ports(golden, folder):
    with h5py.File(golden, "r") as h5:
        algorithm, param, inputs = read_case(h5)
        whole = {name: data[()] for name, data in h5["out"].items()}
    p = with_defaults(param, SINKHORN if algorithm == "sinkhorn" else MOCO)
    ports = (sinkhorn_ports if algorithm == "sinkhorn" else moco_ports)(p, param.get("world", 1), inputs)
    for status, name, out in ports:
        path = os.path.join(folder, "%s_%s.h5" % (os.path.basename(golden)[:-3], "".join(c if c.isalnum() else "_" for c in name)))
        with h5py.File(path, "w") as h5:
            for key, value in {**whole, **out}.items():
                h5["out/" + key] = value if value.dtype.kind == "i" else value.astype(f32)
        print(status, path)


if __name__ == "__main__":
    np.seterr(all="ignore")
    if sys.argv[1] == "cases":
        write_cases(sys.argv[2])
    else:
        write_ports(sys.argv[2], sys.argv[3])
