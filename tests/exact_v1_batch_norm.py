"""group_gather and batch_norm of exact-v1 in Python integers: doc/exact-v1.md section 7, its numbers in brackets."""
import math
from fractions import Fraction

from exact_v1_core import LOWEST, NAN, Moved, div, expo, fma, mark, pow2, rn, rne, scalar_sum, scale, sqrt, with_defaults

DEFAULTS = {"kind": "plain", "num_splits": 1, "num_sync_devices": 1, "local_size": None, "eps": 1e-5, "momentum": 0.1, "training": 1, "track_running_stats": 1,
            "num_batches_tracked": 0, "aggregate": 0, "running_var": "source", "weighting": "equal", "variance": "e2"}


def sum_of(terms):
    return scalar_sum(terms, expo(terms))


def times(a, b):
    return a * b  # Python's floats multiply infinities and NaN as IEEE says


# ---- [1] -------------------------------------------------------------------------------------------------------------------------------------

def group_gather(param, inputs, ranks):
    local = int(param.get("local_size", ranks))
    size = local if int(param["num_groups"]) == 1 else int(param["num_sync_devices"])

    def gather(rows):
        return [[sum_of([rows[q][m] for q in range(r // size * size, r // size * size + size)]) for m in range(len(rows[0]))] for r in range(ranks)]

    return {"output": gather(inputs["input"].tolist()), "grad_input": gather(inputs["grad_output"].tolist())}, {}


# ---- [2] statistics --------------------------------------------------------------------------------------------------------------------------

def integer(terms, e):
    """[1.3] The integer a*2^38 + b of a scalar sum."""
    total = 0
    for t in terms:
        u = Fraction(t) * pow2(36 - e)
        h = rne(u)
        total += h * 2**38 + rne((u - h) * 2**38)
    return total


def moments(x, e):
    marked = mark(x)
    if marked is not None:
        return marked, NAN
    M, first, second = len(x), integer(x, e), integer([v * v for v in x], max(2 * e, LOWEST))
    return scale(rn(Fraction(first, M)), e - 74), scale(rn(Fraction(max(M * second * 2**74 - first**2, 0), M**2)), 2 * e - 148)


def merge(means, variances):
    mean = sum_of(means) / len(means)
    return mean, sum_of([fma(m - mean, m - mean, v) for m, v in zip(means, variances)]) / len(means)


# ---- the layer on all ranks --------------------------------------------------------------------------------------------------------------------

class Layer:
    def __init__(self, param, inputs, ranks):
        self.p, self.ranks = param, ranks
        self.training, self.tracked = bool(param["training"]), bool(param["track_running_stats"])
        self.batch = self.training or not self.tracked
        self.sub = param["kind"] == "sub"
        self.S = param["num_splits"] if self.sub and self.training else 1
        local = ranks if param["local_size"] is None else param["local_size"]
        self.grouped = param["kind"] == "sync" and self.training and local > 1
        self.d = (param["num_sync_devices"] if param["num_sync_devices"] > 0 else local) if self.grouped else 1
        N, self.C = inputs["x"].shape[:2]
        self.x = inputs["x"].reshape(N, self.C, -1).tolist()
        self.g = inputs["grad_y"].reshape(N, self.C, -1).tolist() if "grad_y" in inputs else None
        rows = inputs["rows"].tolist() if "rows" in inputs else [N // ranks] * ranks
        self.samples = [range(sum(rows[:r]), sum(rows[:r + 1])) for r in range(ranks)]
        self.weight = inputs["weight"].tolist() if "weight" in inputs else [1.0] * self.C
        self.bias = inputs["bias"].tolist() if "bias" in inputs else [0.0] * self.C
        self.mean, self.var, self.inv = ([[None] * (self.S * self.C) for _ in range(ranks)] for _ in range(3))

    def group(self, r):
        return range(r // self.d * self.d, r // self.d * self.d + self.d)

    def unit(self, r, u, of):
        """The elements of unit u on rank r."""
        return [v for i, n in enumerate(self.samples[r]) if i % self.S == u // self.C for v in of[n][u % self.C]]

    def count(self, r, u):
        return sum(len(self.unit(q, u, self.x)) for q in self.group(r))

    def statistics(self, r, u, running):
        if not self.batch:
            return running[0][r][u], running[1][r][u]
        parts = [self.unit(q, u, self.x) for q in self.group(r)]
        joined = sum(parts, [])
        if not joined:
            return 0.0, 0.0
        if self.grouped and self.p["weighting"] == "equal" and len(set(map(len, parts))) > 1:
            each = [moments(part, expo(joined)) for part in parts]
            return merge([m for m, _ in each], [v for _, v in each])
        return moments(joined, expo(joined))

    def forward(self, running):
        for r in range(self.ranks):
            for u in range(self.S * self.C):
                self.mean[r][u], self.var[r][u] = self.statistics(r, u, running)
                self.inv[r][u] = div(1.0, sqrt(self.var[r][u] + self.p["eps"]))  # [3]

    def xhat(self, r, u, x):
        return times(x - self.mean[r][u], self.inv[r][u])

    def per_element(self, fn, *of):
        """fn(rank, unit, elements...) for every element, in the shape of x."""
        out = [[None] * self.C for _ in self.x]
        for r in range(self.ranks):
            for i, n in enumerate(self.samples[r]):
                for c in range(self.C):
                    out[n][c] = [fn(r, i % self.S * self.C + c, *values) for values in zip(*(t[n][c] for t in of))]
        return out

    def update(self, means, variances):
        """[4]"""
        p = self.p
        a = 1.0 / (p["num_batches_tracked"] + 1) if math.isnan(p["momentum"]) else p["momentum"]
        unbiased = p["running_var"] == "unbiased" or (p["running_var"] == "source" and not self.grouped)
        for r in range(self.ranks):
            for u in range(self.S * self.C):
                M = float(self.count(r, u))
                if M == 0:
                    continue
                mean, v = self.mean[r][u], self.var[r][u]
                means[r][u] = fma(a, mean, (1.0 - a) * means[r][u])
                if unbiased and M > 1:
                    v = v * M / (M - 1.0)
                if not unbiased or M > 1:
                    variances[r][u] = fma(a, v, (1.0 - a) * variances[r][u])

    def sums(self):
        """[6] Per rank: bias_grad and weight_grad (C), and the sums over the units (S*C)."""
        own, shared = [], []
        for r in range(self.ranks):
            units = range(self.S * self.C)
            terms = {q: [[(g, times(g, self.xhat(q, u, x))) for x, g in zip(self.unit(q, u, self.x), self.unit(q, u, self.g))] for u in units]
                     for q in self.group(r)}
            pair = [[], []], [[], []]
            for k in (0, 1):
                e = [expo([t[k] for q in terms for u in units if u % self.C == c for t in terms[q][u]]) for c in range(self.C)]
                pair[0][k] = [scalar_sum([t[k] for u in units if u % self.C == c for t in terms[r][u]], e[c]) for c in range(self.C)]
                pair[1][k] = [scalar_sum([t[k] for q in terms for t in terms[q][u]], e[u % self.C]) for u in units]
            own.append(pair[0])
            shared.append(pair[1])
        return own, shared

    def backward(self, shared):
        """[7]"""
        def element(r, u, x, g):
            a = times(self.weight[u % self.C], self.inv[r][u])
            if not self.batch:
                return times(a, g)
            equal = self.grouped and self.p["weighting"] == "equal"
            D = float(len(self.unit(r, u, self.x)) * self.d if equal else self.count(r, u))
            mg, mgx = shared[r][0][u] / D, shared[r][1][u] / D
            return times(a, fma(-self.xhat(r, u, x), mgx, g - mg))
        return self.per_element(element, self.x, self.g)


def aggregate(layer, split, running):
    """[5]"""
    S, C = layer.p["num_splits"], layer.C
    for r in range(layer.ranks):
        for c in range(C):
            running[0][r][c], running[1][r][c] = merge([split[0][r][s * C + c] for s in range(S)], [split[1][r][s * C + c] for s in range(S)])


def state(inputs, name, ranks, size):
    given = [inputs[name + part].tolist() if name + part in inputs else [[value] * size for _ in range(ranks)]
             for part, value in (("mean", 0.0), ("var", 1.0))]
    return given


def batch_norm(param, inputs, ranks):
    p = with_defaults(param, DEFAULTS)
    layer = Layer(p, inputs, ranks)
    running = state(inputs, "running_", ranks, layer.C)
    split = state(inputs, "split_running_", ranks, p["num_splits"] * layer.C)
    aggregates = layer.sub and layer.tracked and (layer.training or p["aggregate"])
    if aggregates and not layer.training:
        aggregate(layer, split, running)
    layer.forward(running)
    moved = layer.training and layer.tracked
    if moved:
        layer.update(*(split if layer.sub else running))
    if aggregates and layer.training:
        aggregate(layer, split, running)

    def shaped(rows):
        import numpy as np
        return np.array(rows, dtype=np.float64).reshape(inputs["x"].shape)

    def kept(rows, computed):
        return rows if computed else Moved(rows)

    def affine(r, u, x):
        return fma(layer.xhat(r, u, x), layer.weight[u % layer.C], layer.bias[u % layer.C])

    out = {"y": shaped(layer.per_element(affine, layer.x)), "running_mean": kept(running[0], moved or aggregates),
           "running_var": kept(running[1], moved or aggregates)}
    step = {"mean": layer.mean, "var": layer.var}
    if layer.sub:
        out.update(split_running_mean=kept(split[0], moved), split_running_var=kept(split[1], moved))
    if layer.g is not None:
        own, shared = layer.sums()
        out.update(bias_grad=[pair[0] for pair in own], weight_grad=[pair[1] for pair in own], x_grad=shaped(layer.backward(shared)))
        step.update(sum_g=[pair[0] for pair in shared], sum_gx=[pair[1] for pair in shared])
    return out, step


def run(algorithm, param, inputs, ranks):
    return (group_gather if algorithm == "group_gather" else batch_norm)(param, inputs, ranks)


# ---- known answers: semantics.md 10.8 and 10.9 -------------------------------------------------------------------------------------------------

def self_test(check):
    import numpy as np

    def gen(seed, i):
        return math.sin(1.0 + 0.7 * i + 1.3 * seed)

    def near(got, want):
        return all(abs(g - w) < 0.6e-10 for g, w in zip(got, want))

    x = np.array([[[gen(10 + r, 3 * c + i) for i in range(3)] for c in range(2)] for r in range(4)])
    out, step = batch_norm({"kind": "sync", "num_sync_devices": 2}, {"x": x, "weight": np.array([1.5, -0.5]), "bias": np.array([0.1, 0.2])}, 4)
    check("golden sync statistics", near([step["mean"][0][0], step["var"][0][0]], [0.235194670338, 0.399611655772]))
    check("golden sync y", near(out["y"][0][0], [1.8924664065, 1.5487369075, 0.2611714080]))
    check("golden sync running", near([out["running_mean"][0][0], out["running_var"][0][0]], [0.023519467034, 0.939961165577]))
    x = np.array([[[gen(30, (2 * n + c) * 2 + i) for i in range(2)] for c in range(2)] for n in range(4)])
    out, _ = batch_norm({"kind": "sub", "num_splits": 2}, {"x": x}, 1)
    check("golden sub means", near(out["split_running_mean"][0], [0.065451198336, -0.047591420919, -0.081629154016, 0.019842872748]))
    check("golden sub variances", near(out["split_running_var"][0], [0.913252411641, 0.919788444953, 0.905549156081, 0.925846274950]))
    check("golden sub aggregate", near(out["running_mean"][0] + out["running_var"][0],
                                       [-0.008088977840, -0.013874274086, 0.914808941373, 0.923954205942]))
