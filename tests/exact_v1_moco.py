"""exact-v1 of moco_shuffle and moco in Python integers, as a document: section 6 of doc/exact-v1.md line by line, the paragraphs in brackets."""
import math

from exact_v1_core import (EPS, INF, NAN, Moved, canonical, clamped, div, expo, finite, fma, norm, philox4x32, product_sum, px_exp, px_log, scalar_sum,
                           with_defaults)


def shuffle_key(seed, row, step):
    low = 0xFFFFFFFF
    x = philox4x32([row & low, (row >> 32) & low, step & low, 2], [seed & low, (seed >> 32) & low])
    return ((x[0] << 32 | x[1]) >> 11) * 2.0**-53


def moco_shuffle(param, inputs):
    import numpy as np
    param, x = with_defaults(param, {"seed": 0, "step": 0}), inputs["x"]
    order = inputs.get("permutation")
    if order is None:
        order = sorted(range(len(x)), key=lambda row: (shuffle_key(param["seed"], row, param["step"]), row))
    inverse = [0] * len(x)
    for j, row in enumerate(order):
        inverse[row] = j
    return {"shuffled": Moved(x[np.array(order)]), "inverse": np.array(inverse, dtype=np.int64), "unshuffled": Moved(x)}, {}


# ---- moco ------------------------------------------------------------------------------------------------------------------------------------

DEFAULTS = {"momentum": 0.999, "temperature": 0.2, "queue_ptr": 0, "first_call": 0, "queue_wrap": 0}


def momentum_update(param, k, q):
    """[6.1]"""
    if param["first_call"]:
        return Moved(q)
    mu, rest = param["momentum"], 1.0 - param["momentum"]
    return [(a * mu) + (b * rest) for a, b in zip(k, q)]


def normalise(row):
    """[4.1] Length and direction."""
    n = norm(row)[1]
    return n, [div(x, clamped(n)) for x in row]


def normalise_backward(g, unit, n):
    """[4.2]"""
    terms = [a * b for a, b in zip(g, unit)]
    q = scalar_sum(terms, expo(terms))
    return [div(a if n < EPS else fma(-u, q, a), clamped(n)) for a, u in zip(g, unit)]


class Row:
    """[6.2 to 6.7] One query with its key, against the queue."""

    def __init__(self, query, key, queue, scale, b):
        self.queue, self.s, self.b = queue, scale, b
        self.n, self.q = normalise(query)
        self.k = normalise(key)[1]
        self.eu = [expo(u) for u in queue]
        terms = [x * y for x, y in zip(self.q, self.k)]
        eq = expo(self.q)
        self.l = [scale * scalar_sum(terms, expo(terms))]  # [6.3]
        self.l += [scale * product_sum(u, e, self.q, eq, e + eq - 124) for u, e in zip(queue, self.eu)]  # [6.4]
        M = NAN if any(math.isnan(l) for l in self.l) else max(self.l)  # [6.5]
        self.E = [px_exp(l - M) for l in self.l]
        self.S = scalar_sum(self.E[1:], 0) + self.E[0]
        self.loss = px_log(self.S) - (self.l[0] - M)  # [6.6]

    def gradient(self):
        """[6.7]"""
        h = [(div(e, self.S) / self.b) * self.s for e in self.E[1:]]
        t = [x * 2.0**e for x, e in zip(h, self.eu)]
        G = expo(t)
        c = ((div(self.E[0], self.S) - 1.0) / self.b) * self.s
        g = []
        for d in range(len(self.q)):
            column = [u[d] for u in self.queue]
            F = product_sum(t, G, column, self.eu, G - 124, list(zip(h, column)))
            g.append(fma(c, self.k[d], F))
        return normalise_backward(g, self.q, self.n)


def moco(param, inputs, ranks):
    param = with_defaults(param, DEFAULTS)
    query, key, queue = (inputs[name].tolist() for name in ("query", "key", "queue"))
    N, K, b = len(query), len(queue), len(query) // ranks
    rows = [Row(x, k, queue, 1.0 / param["temperature"], b) for x, k in zip(query, key)]
    losses = [[r.loss for r in rows[p * b:(p + 1) * b]] for p in range(ranks)]
    after = [list(u) for u in queue]
    for i in range(N):  # [6.8]
        after[(param["queue_ptr"] + i) % K] = [canonical(x) for x in rows[i].k]
    out = {"params_k": momentum_update(param, inputs["params_k"].tolist(), inputs["params_q"].tolist()),
           "loss": [scalar_sum(row, expo(row)) / b for row in losses], "query_grad": [r.gradient() for r in rows], "key": [r.k for r in rows],
           "queue": Moved(after), "queue_ptr": (param["queue_ptr"] + N) % K}
    return out, {"logits": [r.l for r in rows]}


def run(algorithm, param, inputs, ranks):
    return moco_shuffle(param, inputs) if algorithm == "moco_shuffle" else moco(param, inputs, ranks)


def self_test(check):
    r = Row([3.0, 0.0], [0.5, 0.0], [[0.0, 1.0], [0.0, -1.0]], 5.0, 1)
    check("a key that is the query, an orthogonal queue", abs(r.loss - math.log(1 + 2 * math.exp(-5.0))) < 1e-15)
    check("a zero query", abs(Row([0.0, 0.0], [1.0, 0.0], [[0.0, 1.0]] * 3, 5.0, 1).loss - math.log(4.0)) < 1e-15)
    order = sorted(range(1000), key=lambda row: (shuffle_key(1, row, 0), row))
    check("a permutation", sorted(order) == list(range(1000)) and order != list(range(1000)))
    check("special values", math.isnan(Row([INF, 0.0], [1.0, 0.0], [[0.0, 1.0]], 5.0, 1).loss) and finite(0.0))
