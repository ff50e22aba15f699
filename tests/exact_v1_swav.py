"""sinkhorn, swav and lr_schedule of exact-v1 in Python integers: doc/exact-v1.md section 5, the numbers in brackets."""
import math

from exact_v1_core import (INF, NAN, Moved, clamped, div, expo, finite, fma, norm, product_sum, px_exp, px_log, px_sincos, scalar_sum, with_defaults)

SINKHORN = {"epsilon": 0.05, "iterations": 3, "stabilise": 1, "version": "v1"}
SWAV = dict(SINKHORN, temperature=0.1, freeze_prototypes=0, use_the_queue=0, log_softmax="source")
DEEP = -980


def deep_expo(values):
    """[5] The grid exponent of masses."""
    largest = max((abs(x) for x in values if finite(x)), default=0.0)
    return DEEP if largest == 0 else max(math.frexp(largest)[1], DEEP)


def mass(values):
    return scalar_sum(values, deep_expo(values))


def total(values):
    return scalar_sum(values, expo(values))


def largest(values, start=-INF):
    """NaN wins."""
    return NAN if any(math.isnan(x) for x in values) else max(values, default=start)


def shoot_infs(values):
    """[5.1] Infinities become the largest of 0 and the others."""
    if not any(math.isinf(x) for x in values):
        return values
    m = largest([0.0] + [x for x in values if not math.isinf(x)])
    return [m if math.isinf(x) else x for x in values]


# ---- Sinkhorn --------------------------------------------------------------------------------------------------------------------------------

def columns(Q):
    return [list(c) for c in zip(*Q)]


def sinkhorn(param, ranks, scores):
    """[5.1 to 5.6] scores (N,K): assignment (N,K) and the row sums of every iteration."""
    a = [[div(o, param["epsilon"]) for o in row] for row in scores]
    if param["version"] == "log":
        return log_domain(param, a)
    N, K, shoots = len(a), len(a[0]), param["version"] in ("v1", "vissl")
    M = largest([x for row in a for x in row]) if param["stabilise"] else 0.0
    Q = [[px_exp(x - M) for x in row] for row in a]
    for r in range(ranks if shoots else 0):
        first, end = r * N // ranks, (r + 1) * N // ranks
        flat = shoot_infs([x for row in Q[first:end] for x in row])
        Q[first:end] = [flat[i * K:(i + 1) * K] for i in range(end - first)]
    t = mass([mass(c) for c in columns(Q)])
    Q = [[div(x, t) for x in row] for row in Q]
    sums = []
    for _ in range(param["iterations"]):
        u = [mass(c) for c in columns(Q)]
        if param["version"] == "vissl" and any(x == 0 for x in u):
            Q = [[x + 1e-12 for x in row] for row in Q]
            u = [mass(c) for c in columns(Q)]
        sums.append(u)
        if param["version"] == "v2":
            Q = [[div(x, s) / K for x, s in zip(row, u)] for row in Q]
            Q = [[div(x, s) / N for x in row] for row, s in ((row, mass(row)) for row in Q)]
        else:
            f = shoot_infs([div(1.0 / K, s) for s in u])
            Q = [[x * y for x, y in zip(row, f)] for row in Q]
            Q = [[x * s for x in row] for row, s in ((row, div(1.0 / N, mass(row))) for row in Q)]
    if param["version"] == "v2":
        return [[x * float(N) for x in row] for row in Q], sums
    return [[div(x, s) for x in row] for row, s in ((row, mass(row)) for row in Q)], sums


def log_sum_exp(y):
    m = largest(y)
    return m + px_log(scalar_sum([px_exp(x - m) for x in y], 0)) if finite(m) else m


def log_domain(param, a):
    """[5.6]"""
    N, K = len(a), len(a[0])
    f, g, sums = [0.0] * K, [0.0] * N, []
    for _ in range(param["iterations"]):
        L = [log_sum_exp([a[j][k] + g[j] for j in range(N)]) for k in range(K)]
        sums.append(L)
        f = [-px_log(float(K)) - x for x in L]
        g = [-px_log(float(N)) - log_sum_exp([x + y for x, y in zip(row, f)]) for row in a]
    result = []
    for row in a:
        y = [x + fk for x, fk in zip(row, f)]
        lse = log_sum_exp(y)
        result.append([px_exp(x - lse) for x in y])
    return result, sums


# ---- SwAV ------------------------------------------------------------------------------------------------------------------------------------

def unit(row):
    """[4.1] The row over its clamped norm, and the norm."""
    _, n = norm(row)
    return [div(x, clamped(n)) for x in row], n


def dots(A, B):
    """[4.3] A B^T."""
    EA, EB = [expo(r) for r in A], [expo(r) for r in B]
    return [[product_sum(x, ex, y, ey, ex + ey - 124) for y, ey in zip(B, EB)] for x, ex in zip(A, EA)]


def times(A, B):
    """[4.3] A B."""
    eb, result = [expo(r) for r in B], []
    for row in A:
        u = [x * 2.0**e for x, e in zip(row, eb)]
        en = expo(u)
        result.append([product_sum(u, en, [b[d] for b in B], eb, en - 124, [(x, b[d]) for x, b in zip(row, B)]) for d in range(len(B[0]))])
    return result


def backward(g, z, n):
    """[4.2]"""
    q = total([x * y for x, y in zip(g, z)])
    return [div(x if n < 1e-12 else fma(-y, q, x), clamped(n)) for x, y in zip(g, z)]


class Swav:
    def __init__(self, param, inputs, ranks):
        self.param, self.P, self.V = param, ranks, param["crops"]
        self.h = inputs["embedding"].tolist()
        self.A = inputs["crops_for_assign"].tolist()
        self.queue = inputs["queue"].tolist() if "queue" in inputs else None
        self.use, self.bs = bool(param["use_the_queue"]), len(self.h[0]) // self.V
        self.source = param["log_softmax"] == "source" and param["version"] == "v1"
        self.C = [unit(row)[0] for row in inputs["prototypes"].tolist()]
        pairs = [[unit(row) for row in rank] for rank in self.h]
        self.z, self.n = [[p[0] for p in rank] for rank in pairs], [[p[1] for p in rank] for rank in pairs]
        self.S = [dots(rank, self.C) for rank in self.z]

    def crop(self, rows, v):
        return rows[v * self.bs:(v + 1) * self.bs]

    def assign(self, i):
        """[5.7] Position i: the assignments of every rank."""
        scores, a = [], self.A[i]
        if self.queue:
            answers = {self.use or any(x != 0 for x in rank[i][-1]) for rank in self.queue}
            assert len(answers) == 1, "the ranks disagree"
            self.use = answers.pop()
        L = len(self.queue[0][i]) if self.queue and self.use else 0
        for r in range(self.P):
            scores += (dots(self.queue[r][i], self.C) if L else []) + self.crop(self.S[r], a)
            if self.queue:
                self.queue[r][i] = self.crop(self.z[r], a) + self.queue[r][i][:-self.bs]
        q, _ = sinkhorn(self.param, self.P, scores)
        n = L + self.bs
        return [q[r * n + L:(r + 1) * n] for r in range(self.P)]

    def row(self, s, targets):
        """[5.8, 5.9] One row: its losses against every target, and the gradient of its scores without the factor."""
        l = [div(x, self.param["temperature"]) for x in s]
        M = largest(l)
        E = [px_exp(x - M) for x in l]
        S = scalar_sum(E, 0)
        p = [div(x, S) for x in E]
        logp = [px_log(x) for x in p] if self.source else [(x - M) - px_log(S) for x in l]
        losses, ds = [], [0.0] * len(s)
        for q in targets:
            losses.append(total([x * y for x, y in zip(q, logp)]))
            Q = total(q)
            ds = [d + fma(Q, x, -y) for d, x, y in zip(ds, p, q)]
            if self.source and any(x == 0 for x in p):
                ds = [NAN] * len(s)
        return losses, ds

    def run(self):
        q = [self.assign(i) for i in range(len(self.A))]  # [A][P][bs]
        factor = div(1.0, (float(len(self.A) * (self.V - 1) * self.bs)) * self.param["temperature"])
        loss, dS = [], []
        for r in range(self.P):
            losses, rows = [], []
            for index, s in enumerate(self.S[r]):
                v, n = divmod(index, self.bs)
                more, ds = self.row(s, [q[i][r][n] for i, a in enumerate(self.A) if a != v])
                losses += more
                rows.append([x * factor for x in ds])
            loss.append(div(div(-total(losses) / self.bs, float(self.V - 1)), float(len(self.A))))
            dS.append(rows)
        dh = [[backward(g, z, n) for g, z, n in zip(times(dS[r], self.C), self.z[r], self.n[r])] for r in range(self.P)]
        out = {"loss": loss, "assignment": [[q[i][r] for i in range(len(self.A))] for r in range(self.P)], "embedding_grad": dh, "prototypes": self.C,
               "prototypes_grad": self.prototypes_grad(dS), "use_the_queue": int(self.use)}
        if self.queue:
            out["queue"] = Moved([[[[x + 0.0 for x in row] if j < self.bs else row for j, row in enumerate(i)] for i in rank] for rank in self.queue])
        return out, {"scores": self.S, "dscores": dS}

    def prototypes_grad(self, dS):
        """[5.10] dS^T z over all ranks (4.3), over P."""
        K, D = len(self.C), len(self.C[0])
        if self.param["freeze_prototypes"]:
            return [[0.0] * D for _ in range(K)]
        g, z = [row for rank in dS for row in rank], [row for rank in self.z for row in rank]
        ez, result = [expo(row) for row in z], []
        for k in range(K):
            u = [row[k] * 2.0**e for row, e in zip(g, ez)]
            ek = expo(u)
            result.append([product_sum(u, ek, [x[d] for x in z], ez, ek - 124, [(row[k], x[d]) for row, x in zip(g, z)]) / self.P for d in range(D)])
        return result


# ---- learning rate ---------------------------------------------------------------------------------------------------------------------------

def schedule(param):
    base, final, start = (float(param[name]) for name in ("base_lr", "final_lr", "start_warmup"))
    R = param["warmup_epochs"] * param["steps_per_epoch"]
    F = param["epochs"] * param["steps_per_epoch"] - R
    step = (base - start) / (R - 1) if R > 1 else 0.0
    rise = [i * step + start for i in range(R)]
    if R > 1:
        rise[-1] = base
    return rise + [final + (0.5 * (base - final)) * (1.0 + px_sincos((math.pi * t) / F)[1]) for t in range(F)]


def run(algorithm, param, inputs, ranks):
    if algorithm == "lr_schedule":
        return {"lr": schedule(param)}, {}
    if algorithm == "sinkhorn":
        q, sums = sinkhorn(with_defaults(param, SINKHORN), ranks, inputs["scores"].tolist())
        return {"assignment": q}, {"row_sum_%d" % t: u for t, u in enumerate(sums)}
    return Swav(with_defaults(param, SWAV), inputs, ranks).run()


def self_test(check):
    """semantics 10.5: three iterations."""
    scores = [[.9, .1, -.2], [.8, .3, 0.0], [.7, .2, .1], [-.1, .4, .6]]
    want = [[.99556303, .00443581, .00000116], [.35740107, .64243116, .00016777], [.35421586, .63670572, .00907841], [0, .14809869, .85190131]]
    for version in ("v1", "v2", "vissl", "log"):
        q, _ = sinkhorn(dict(SINKHORN, version=version), 1, scores)
        check(all(abs(x - y) < 5.1e-9 for a, b in zip(q, want) for x, y in zip(a, b)), "10.5, version " + version)
