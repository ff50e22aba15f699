"""exact-v1 of arcface_head and adaptive_margins in Python integers, as a document: section 8 of doc/exact-v1.md line by line, the paragraphs in brackets."""
import math

from exact_v1_core import (INF, NAN, clamped, div, expo, finite, fma, norm, product_sum, px_exp, px_log, px_sincos, scalar_sum, sqrt, with_defaults)

DEFAULTS = {"scale": 64.0, "num_subcenters": 1, "margin": 0.5, "easy_margin": 0, "feature_norm": 1, "weight_norm": 1, "loss_weight": 1.0,
            "margin_constants": "init", "eval": 0, "cos_clamp": 0}
MARGINS = {"power": -0.25, "margin_min": 0.05, "margin_max": 0.5, "equal_counts": "source"}


def sincos(x):
    return px_sincos(x) if finite(x) else (NAN, NAN)


class Head:
    """[8.1, 8.4] Logit and slope of one cosine of a class with margin m."""

    def __init__(self, param, m):
        self.s, self.easy, self.clamp, self.plain = param["scale"], param["easy_margin"], param["cos_clamp"], param["eval"]
        self.sm, self.cm = sincos(m)
        sin_a, cos_a = sincos(math.pi - m)
        init = param["margin_constants"] == "init"
        self.th, self.mm = (cos_a, sin_a * m) if init else (-self.cm, self.sm * m)

    def __call__(self, z, is_target):
        v, gate = z, True
        if self.clamp:
            v, gate = -1.0 if z < -1 else 1.0 if z > 1 else z, -1 <= z <= 1
        if self.plain:
            return self.s * v, None
        logit, slope = self.target(v) if is_target else self.other(v)
        if not self.clamp and (not -1 < z < 1 or math.isnan(self.th)):
            slope = NAN
        return logit, slope if gate else 0.0

    def target(self, v):
        q = sqrt((1.0 - v) * (1.0 + v)) if finite(v) else NAN
        phi, rise = fma(v, self.cm, -(q * self.sm)), self.cm + div(v * self.sm, q)
        if self.clamp and abs(v) == 1:
            rise = 0.0
        if not v > (0 if self.easy else self.th):
            phi, rise = v if self.easy else v - self.mm, 1.0
        return self.s * (phi if finite(v) else NAN), self.s * rise

    def other(self, v):
        nothing = math.isnan(self.th) and (v > 0 or not self.easy)
        if not self.clamp and (not finite(v) or v > 1 or nothing):
            return NAN, self.s
        return self.s * v, self.s


def directions(rows, wanted):
    """[8.2, 4.1] Rows, normalised if wanted, and the lengths they had."""
    lengths = [norm(row)[1] for row in rows]
    return [[x / clamped(n) for x in row] if wanted else row for row, n in zip(rows, lengths)], lengths


def own_sum(terms):
    return scalar_sum(terms, expo(terms))


def backward(g, unit, length, wanted):
    """[4.2]"""
    if not wanted:
        return g
    d = clamped(length)
    if length < 1e-12:
        return [x / d for x in g]
    q = own_sum([x * u for x, u in zip(g, unit)])
    return [fma(-u, q, x) / d for x, u in zip(g, unit)]


def weighted_rows(a, rows):
    """[4.3] sum_k a_k rows_k: one row of A B, or of A^T B."""
    e = [expo(row) for row in rows]
    u = [x * 2.0**ek for x, ek in zip(a, e)]
    grid = expo(u)
    return [product_sum(u, grid, [row[d] for row in rows], e, grid - 124, list(zip(a, [row[d] for row in rows]))) for d in range(len(rows[0]))]


class Arcface:
    def __init__(self, param, inputs):
        self.param, self.k = param, param["num_subcenters"]
        self.X, self.W = inputs["features"].tolist(), inputs["weight"].tolist()
        self.N, self.C = len(self.X), len(self.W) // self.k
        self.rows, self.classes = range(self.N), range(self.C)
        self.bias = inputs["bias"].tolist() if "bias" in inputs else [0.0] * len(self.W)
        self.y = inputs["labels"].tolist() if "labels" in inputs else [-1] * self.N
        self.soft = inputs["soft_targets"].tolist() if "soft_targets" in inputs else None
        self.cw = inputs["class_weight"].tolist() if "class_weight" in inputs else [1.0] * self.C
        margins = inputs["margins"].tolist() if "margins" in inputs else [param["margin"]] * self.C
        self.heads = [Head(param, m) for m in margins]
        self.forward()
        if not param["eval"]:
            self.softmax()
            self.gradients()

    def best(self, values):
        """[8.3]"""
        at = 0
        for j, v in enumerate(values):
            if v > values[at] or (math.isnan(v) and not math.isnan(values[at])):
                at = j
        return values[at], at

    def forward(self):
        self.Xu, self.xn = directions(self.X, self.param["feature_norm"])
        self.Wu, self.wn = directions(self.W, self.param["weight_norm"])
        ex, ew = [expo(row) for row in self.Xu], [expo(row) for row in self.Wu]
        self.z, self.winner, self.l, self.slope = ([[0] * self.C for _ in self.rows] for _ in range(4))
        for i in self.rows:
            for c in self.classes:
                v = [product_sum(self.Xu[i], ex[i], self.Wu[r], ew[r], ex[i] + ew[r] - 124) + self.bias[r] for r in range(c * self.k, (c + 1) * self.k)]
                self.z[i][c], self.winner[i][c] = self.best(v)
                self.l[i][c], self.slope[i][c] = self.heads[c](self.z[i][c], self.y[i] == c)

    def softmax(self):
        """[8.5, 8.6, 8.7]"""
        self.p, self.h, R = [], [], []
        f = self.param["loss_weight"] / self.N
        for i in self.rows:
            l = self.l[i]
            M = NAN if any(map(math.isnan, l)) else max(l)
            E = [px_exp(x - M) if finite(M) else NAN for x in l]
            S = scalar_sum(E, 0)
            p = [div(e, S) for e in E]
            q = [self.soft[i][c] * self.cw[c] for c in self.classes] if self.soft else [self.cw[c] if c == self.y[i] else None for c in self.classes]
            terms = [c for c in self.classes if q[c] is not None]
            T = own_sum([q[c] for c in terms])
            R.append(own_sum([q[c] * (px_log(S) - (l[c] - M)) for c in terms]))
            self.p.append(p)
            self.h.append([(fma(T, p[c], -(q[c] or 0.0)) * f) * self.slope[i][c] for c in self.classes])
        self.loss = f * own_sum(R)

    def gradients(self):
        """[8.7, 8.8]"""
        H = [[self.h[i][c] if j == self.winner[i][c] else 0.0 for c in self.classes for j in range(self.k)] for i in self.rows]
        columns = [list(column) for column in zip(*H)]
        self.bias_grad = [own_sum(column) for column in columns]
        self.x_grad = [backward(weighted_rows(H[i], self.Wu), self.Xu[i], self.xn[i], self.param["feature_norm"]) for i in self.rows]
        self.weight_grad = [backward(weighted_rows(column, self.Xu), self.Wu[r], self.wn[r], self.param["weight_norm"]) for r, column in enumerate(columns)]


def px_pow(x, a):
    hi = px_log(x)
    lo = fma(x, px_exp(-hi), -1.0)
    p = a * hi
    e = fma(a, lo, fma(a, hi, -p))
    y = px_exp(p)
    return fma(y, e, y) if y < INF else y


def adaptive_margins(param, counts):
    f = [px_pow(float(max(n, 1)), param["power"]) for n in counts]
    least, spread, width = min(f), param["margin_max"] - param["margin_min"], max(f) - min(f)
    if width == 0 and param["equal_counts"] == "min":
        return [param["margin_min"]] * len(f)
    return [div(x - least, width) * spread + param["margin_min"] for x in f]


def run(algorithm, param, inputs, ranks):
    if algorithm == "adaptive_margins":
        return {"margins": adaptive_margins(with_defaults(param, MARGINS), inputs["class_counts"].tolist())}, {}
    a = Arcface(with_defaults(param, DEFAULTS), inputs)
    out, step = {"logits": a.l, "subcenter": a.winner}, {"cosine": a.z}
    if not a.param["eval"]:
        out.update(loss=a.loss, x_grad=a.x_grad, weight_grad=a.weight_grad)
        step["prob"] = a.p
        if "bias" in inputs:
            out["bias_grad"] = a.bias_grad
    return out, step


def self_test(check):
    head = Head(DEFAULTS, 0.5)
    check("threshold and fallback of 0.5", abs(head.th + 0.8775825618903726) < 1e-15 and abs(head.mm - 0.23971276930210156) < 1e-15)
    check("margins of [1, 10, 100, 0]", [round(m, 10) for m in adaptive_margins(MARGINS, [1, 10, 100, 0])] == [0.5, 0.2119707501, 0.05, 0.5])
    for x in (1.0, 2.0, 3.0, 17.0, 123456789.0, 2.0**60):
        for a in (-0.25, 0.5, -1.0, 3.0, -20.0):
            check("pow(%g, %g)" % (x, a), abs(px_pow(x, a) - x**a) <= (2 + abs(a)) * 2.3e-16 * x**a)
