"""sinkhorn, semantics.md 5.5. No matrix products: the scores are read in the type."""
import numpy as np

from . import Fault, Golden, Variant

GOLDENS = {
    "v1": Golden("sinkhorn", 2, "N=128,K=48", "iterations=3"),
    "v1 lattice": Golden("sinkhorn", 2, "N=128,K=48", "iterations=3", "lattice"),
    "v1 once": Golden("sinkhorn", 2, "N=16,K=8", "iterations=1"),
    "v1 wide": Golden("sinkhorn", 2, "N=16,K=8", "epsilon=2,iterations=1", "hard"),
    "v2": Golden("sinkhorn", 2, "N=64,K=32", "version=v2,stabilise=0"),
    "vissl": Golden("sinkhorn", 4, "N=64,K=32", "version=vissl"),
    "log": Golden("sinkhorn", 2, "N=64,K=32", "version=log"),
}
WRONG = [
    Fault("sum over ranks left out", "v1 once", "row_sum_0"),
    Fault("row sums of one rank", "v1", "row_sum_0"),
    Fault("maximum of one rank", "v1 wide", "row_sum_0"),
    Fault("one iteration too few", "v1 lattice", ""),
    Fault("one iteration too many", "v1 lattice", ""),
    Fault("epsilon off by 2 %", "v1", "row_sum_0"),
    Fault("no final normalisation", "v1 lattice"),
    Fault("columns left out", "v1", "row_sum_1"),
    Fault("rows left out", "v1", "row_sum_1"),
    Fault("scores not divided by epsilon", "v1", "row_sum_0"),
    Fault("one sample dropped from the row sums", "v1 lattice", "row_sum_0"),
    Fault("one prototype dropped from the column sums", "v1 lattice", "row_sum_1"),
    Fault("columns summed over ranks", "v1", "row_sum_1"),
    Fault("not multiplied by N at the end", "v2"),
    Fault("logarithms: a rank's maximum only", "log", "row_sum_0"),
]
RIGHT = [
    Variant("in the log domain", "v1"),
    Variant("no maximum subtracted", "v1"),
    Variant("arranged as v2", "v1"),
    Variant("maximum subtracted", "v2"),
    Variant("", "v1", {"sums": "sequential"}),
    Variant("", "v1", {"sums": "reversed"}),
    Variant("", "v1", {"finer": True}),
    Variant("", "v1", {"sums": "float64"}),
] + [Variant("", name, options) for name in GOLDENS for options in ({}, {"truncate": True})]


def log_sum_exp(q, x, axis):
    m = x.max(axis, keepdims=True)
    return np.squeeze(m, axis) + np.log(q.sum(np.exp(x - m), axis))


def log_domain(q, a, P, iterations, change=""):
    """Assignments and the logarithms of the row sums; a (N,K), samples in P blocks."""
    f, g, sums = np.zeros(a.shape[1], q.real), np.zeros(a.shape[0], q.real), []
    for _ in range(iterations):
        each = [log_sum_exp(q, x, 0) for x in np.split(a + g[:, None], P)]
        top = np.max(each, 0)
        L = each[0] if change == "logarithms: a rank's maximum only" else top + np.log(q.over_ranks([np.exp(x - top) for x in each]))
        sums.append(L)
        f = -np.log(q.real(a.shape[1])) - L
        g = -np.log(q.real(a.shape[0])) - log_sum_exp(q, a + f, 1)
    return np.exp(a + f - log_sum_exp(q, a + f, 1)[:, None]), sums


def start(q, a, P, stabilise, change):
    """exp of every rank's part, over the sum of all."""
    parts = np.split(a, P)
    M = a.max() if stabilise else q.real(0)
    Q = [np.exp(x - (x.max() if change == "maximum of one rank" else M)) for x in parts]
    totals = [q.sum(x) for x in Q]
    return [x / (t if change == "sum over ranks left out" else q.over_ranks(totals)) for x, t in zip(Q, totals)]


def row_sums(q, Q, change):
    """Of every prototype over the samples of all ranks."""
    if change == "one sample dropped from the row sums":
        Q = [Q[0][1:]] + Q[1:]
    each = [q.sum(x, 0) for x in Q]
    return each[0] if change == "row sums of one rank" else q.over_ranks(each)


def column_sums(q, Q, change):
    """Of every sample over the prototypes."""
    if change == "one prototype dropped from the column sums":
        return [q.sum(x[:, 1:], 1)[:, None] for x in Q]
    each = [q.sum(x, 1)[:, None] for x in Q]
    return [q.over_ranks(each)] * len(Q) if change == "columns summed over ranks" else each


def assign(p, q, P, scores, change=""):
    """scores (N,K), rank after rank: assignments (N,K) and the row sums of every iteration."""
    (N, K), version = scores.shape, p["version"]
    iterations = p["iterations"] + {"one iteration too few": -1, "one iteration too many": 1}.get(change, 0)
    epsilon = {"epsilon off by 2 %": 1.02 * p["epsilon"], "scores not divided by epsilon": 1}.get(change, p["epsilon"])
    a = scores / q.real(epsilon)
    if version == "log" or change == "in the log domain":
        q_log, sums = log_domain(q, a, P, iterations, change)
        return q_log, sums if version == "log" else []
    Q = start(q, a, P, (p["stabilise"] or change == "maximum subtracted") and change != "no maximum subtracted", change)
    sums, as_v2 = [], version == "v2" or change == "arranged as v2"
    for _ in range(iterations):
        u = row_sums(q, Q, change)
        sums.append(u)
        if change != "rows left out":
            Q = [x / u / q.real(K) if as_v2 else x * (q.real(1 / K) / u) for x in Q]
        if change != "columns left out":
            Q = [x / s / q.real(N) if as_v2 else x * (q.real(1 / N) / s) for x, s in zip(Q, column_sums(q, Q, change))]
    if as_v2:
        Q = [x if change == "not multiplied by N at the end" else x * q.real(N) for x in Q]
    elif change != "no final normalisation":
        Q = [x / s for x, s in zip(Q, column_sums(q, Q, ""))]
    return np.concatenate(Q), sums


def port(case, q, change):
    scores = q.operand(case.inputs["scores"])
    assignment, sums = assign(case.param, q, case.ranks, scores, change)
    return {"assignment": assignment}, {"row_sum_%d" % t: u for t, u in enumerate(sums[:case.param["iterations"]])}
