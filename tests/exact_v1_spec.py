"""exact-v1 of partial_fc in Python integers, as a document: doc/exact-v1.md line by line, the sections in brackets.

It knows nothing of ranks, slices, BLAS, threads or SIMD. Sums are Python integers, RN and fma go through fractions.Fraction, and a Python float
is an IEEE double, so + - * / and sqrt are the trees of the specification. exact_v1.py is the command that uses it.
"""
import math
import struct
from fractions import Fraction

NAN, INF = float("nan"), float("inf")
LOWEST = -900  # the lowest grid exponent
EPS = 1e-12  # norms are clamped here before they divide


# ---- rounding and IEEE operations that Python's floats raise on ------------------------------------------------------------------------------

def finite(x):
    return not (math.isnan(x) or math.isinf(x))


def rn(value):
    """RN: a Fraction or an integer as the nearest double, ties to even; too large is an infinity."""
    try:
        return float(value)
    except OverflowError:
        return INF if value > 0 else -INF


def rne(value):
    """The nearest integer of a Fraction, ties to even."""
    floor = value.numerator // value.denominator
    rest = value - floor
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2 == 1):
        return floor + 1
    return floor


def pow2(k):
    return Fraction(2) ** k


def div(a, b):
    if b == 0:
        return NAN if a == 0 or math.isnan(a) else math.copysign(INF, a) * math.copysign(1.0, b)
    return a / b


def sqrt(a):
    return NAN if a < 0 else math.sqrt(a)


def fma(a, b, c):
    """RN(a*b + c). Zero and non-finite factors need no rounding, so ordinary operations give them (and the sign of a zero)."""
    if not (finite(a) and finite(b)) or a == 0 or b == 0:
        return a * b + c
    if not finite(c):
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    return rn(exact) if exact != 0 else 0.0


def float32(x):
    """The nearest float32, ties to even, as a double."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(INF, x)


def canonical(x):
    """How results are stored: one NaN, no negative zero."""
    return NAN if math.isnan(x) else x + 0.0


# ---- 1. sums -------------------------------------------------------------------------------------------------------------------------------

def expo(values):
    """[1.1] Grid exponent: max(frexp exponent of the largest finite magnitude, -900)."""
    largest = max((abs(x) for x in values if finite(x)), default=0.0)
    return LOWEST if largest == 0 else max(math.frexp(largest)[1], LOWEST)


def V(x, e):
    """[1.2] rne(x * 2^(62-e)); non-finite x counts as 0."""
    if not finite(x):
        return 0
    v = rne(Fraction(x) * pow2(62 - e))
    assert abs(v) <= 2**62
    return v


def scale(v, k):
    """[1.2] v * 2^k, rounded once if subnormal, infinite if too large."""
    return rn(Fraction(v) * pow2(k))


def mark(terms):
    """[1.4] The value of a sum with non-finite terms: equal ones stay, different ones make NaN. None: all terms are finite."""
    marks = [t for t in terms if not finite(t)]
    if not marks:
        return None
    return marks[0] if all(t == marks[0] for t in marks) else NAN


def product_sum(a, ea, b, eb, shift, factors=None):
    """[1.2] scale(RN(sum_k V(a_k, ea_k) * V(b_k, eb_k)), shift). ea and eb are one exponent each, or one for each term.
    factors: pairs whose products mark the sum, where a_k and b_k are not the factors of the formula itself but a rescaled form of them."""
    marked = mark([x * y for x, y in factors or zip(a, b) if not (finite(x) and finite(y))])
    if marked is not None:
        return marked
    ea = ea if isinstance(ea, list) else [ea] * len(a)
    eb = eb if isinstance(eb, list) else [eb] * len(b)
    total = sum(V(x, ex) * V(y, ey) for x, ex, y, ey in zip(a, ea, b, eb))
    return scale(rn(total), shift)


def scalar_sum(terms, e):
    """[1.3] Two integers: 36 bits above and 38 bits below, relative to 2^e."""
    marked = mark(terms)
    if marked is not None:
        return marked
    a = b = 0
    for t in terms:
        u = Fraction(t) * pow2(36 - e)
        assert abs(u) <= 2**36
        h = rne(u)
        a += h
        b += rne((u - h) * 2**38)
    return scale(rn(a * 2**38 + b), e - 74)


# ---- 2. elementwise functions --------------------------------------------------------------------------------------------------------------

MAGIC = 1.5 * 2.0**52
LOG2E = float.fromhex("0x1.71547652b82fep+0")
LN2HI = float.fromhex("0x1.62e42feep-1")
LN2LO = float.fromhex("0x1.a39ef35793c76p-33")
TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
P1, P2, P3 = (float.fromhex(h) for h in ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110"))


def horner(x, *fractions):
    """Horner by fma; every coefficient is a fraction rounded to double."""
    q = rn(fractions[0])
    for coefficient in fractions[1:]:
        q = fma(q, x, rn(coefficient))
    return q


def factorial_terms(first, last, step=-1, signs=False):
    """1/first!, ..., 1/last!; with signs, 1/j! has the sign of the Taylor series of sine or cosine."""
    return [Fraction(-1 if signs and (j // 2) % 2 else 1, math.factorial(j)) for j in range(first, last + step, step)]


def px_exp(x):
    if math.isnan(x):
        return x
    if x < -708.0:
        return 0.0
    if x > 709.78:
        return INF
    t = x * LOG2E + MAGIC
    k = t - MAGIC
    r = fma(-k, LN2HI, x)
    c = k * LN2LO
    rr = r - c
    lo = (r - rr) - c
    q = horner(rr, *factorial_terms(13, 2))
    e = 1.0 + (rr + fma(rr * rr, q, lo))
    return scale(e, int(k))


def px_log(x):
    if math.isnan(x) or x < 0:
        return NAN
    if x == 0:
        return -INF
    if x == INF:
        return INF
    m, k = math.frexp(x)  # m in [1/2, 1)
    if 2 * Fraction(m) ** 2 < 1:  # m below sqrt(1/2)
        m, k = 2 * m, k - 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    R = z * horner(z, *[Fraction(2, j) for j in range(25, 1, -2)])
    h = (0.5 * f) * f
    return k * LN2HI - ((h - (s * (h + R) + k * LN2LO)) - f)


def px_sincos(x):
    n = float(round(x * TWO_OVER_PI))  # round: ties to even
    r = fma(-n, P1, x)
    r = fma(-n, P2, r)
    r = fma(-n, P3, r)
    z = r * r
    s = fma(r * z, horner(z, *factorial_terms(17, 3, -2, True)), r)
    w = 0.5 * z
    one = 1.0 - w
    c = one + fma(z * z, horner(z, *factorial_terms(18, 4, -2, True)), (1.0 - one) - w)
    return [(s, c), (c, -s), (-s, -c), (-c, s)][int(n) % 4]


# ---- random numbers: Philox4x32-10 and the keys of classes -----------------------------------------------------------------------------------

def philox4x32(counter, key):
    """Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: ten rounds."""
    low = 0xFFFFFFFF
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(right >> 32) ^ c[1] ^ k[0], right & low, (left >> 32) ^ c[3] ^ k[1], left & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


def class_key(seed, c, step):
    """u in [0,1) on the grid 2^-53, of global class c in a step."""
    low = 0xFFFFFFFF
    x = philox4x32([c & low, (c >> 32) & low, step & low, 1], [seed & low, (seed >> 32) & low])
    return ((x[0] << 32 | x[1]) >> 11) * 2.0**-53


# ---- 3. partial_fc -------------------------------------------------------------------------------------------------------------------------

def shard(total, ranks, rank):
    """Contiguous blocks; the first total mod ranks of them hold one more."""
    size, extra = divmod(total, ranks)
    start = size * rank + min(rank, extra)
    return range(start, start + size + (1 if rank < extra else 0))


def samples(param):
    """The mode test of the source is int(rate) == 1; a number of classes switches sampling on whatever the rate."""
    return param["num_sample"] is not None or not 1 <= param["sample_rate"] < 2


def sampled_classes(param, C, labels, keys, ranks):
    """Positives first, then the largest keys, ties to the lower class; in every shard, or once over all classes."""
    if not samples(param):
        return list(range(C))
    rate, num_sample, chosen = param["sample_rate"], param["num_sample"], []
    blocks = [range(C)] if param["sample_rule"] == "global" else [shard(C, ranks, r) for r in range(ranks)]
    for block in blocks:
        wanted = int(rate * len(block)) if num_sample is None else min(num_sample, len(block))
        positive = {t for t in labels if t in block}
        others = sorted((c for c in block if c not in positive), key=lambda c: (-keys[c], c))
        chosen += sorted(positive) + others[:max(wanted - len(positive), 0)]
    return sorted(chosen)


def norm(row):
    """[3.1] Grid exponent of a row and its norm, not clamped."""
    e = expo(row)
    if any(math.isnan(x) for x in row):
        return e, NAN
    if any(math.isinf(x) for x in row):
        return e, INF
    return e, math.sqrt(scalar_sum([x * x for x in row], max(2 * e, LOWEST)))


def clamped(n):
    return EPS if n < EPS else n  # NaN stays


def relu(x):
    return 0.0 if x < 0 else x  # NaN stays


class Head:
    """[3.3] Logit and slope of one cosine."""

    def __init__(self, param):
        self.kind, self.s, self.m = param["head"], param["scale"], param["margin"]
        self.gradient, self.fallback = param["arc_gradient"], param["arc_fallback"]
        self.cos_clamp, self.threshold = param["cos_clamp"], param["interclass_threshold"]
        if self.kind == "arc":
            self.sm, self.cm = px_sincos(self.m)
            self.mm = self.m * self.sm

    def __call__(self, z, is_target):
        gate = True
        if self.cos_clamp:
            gate = -1 <= z <= 1
            z = -1.0 if z < -1 else 1.0 if z > 1 else z
        if self.threshold > 0 and not is_target and z > self.threshold:
            return 0.0, 0.0
        logit, slope = getattr(self, self.kind)(z, is_target)
        return logit, slope if gate else 0.0

    def linear(self, z, is_target):
        return self.s * z, self.s

    def cos(self, z, is_target):
        return self.s * (z - self.m if is_target else z), self.s

    def circle(self, z, is_target):
        if is_target:
            strength = self.s * relu((1.0 + self.m) - z)
            return strength * (z - (1.0 - self.m)), strength
        strength = self.s * relu(z + self.m)
        return strength * (z - self.m), strength

    def arc(self, z, is_target):
        phi, slope, plain = z, 1.0, True  # plain: not the branch cos(theta + m)
        if is_target:
            phi, slope, plain = self.arc_target(z)
        exact = self.gradient == "exact"
        if not exact:
            slope = 1.0
        if abs(z) > 1:  # the NaN of the logit reaches every gradient of the row, whatever the slope
            return NAN, self.s * slope
        if abs(z) == 1 and exact:
            slope = NAN if not self.cos_clamp else slope if plain else 0.0
        return self.s * phi, self.s * slope

    def arc_target(self, z):
        if self.fallback == "linear" and z <= -self.cm:
            return z - self.mm, 1.0, True
        if self.fallback == "easy" and not z > 0:
            return z, 1.0, True
        q = sqrt((1.0 - z) * (1.0 + z))
        return fma(z, self.cm, -(q * self.sm)), self.cm + div(z * self.sm, q), False


class Step:
    """One training step on X (N,D), labels (N), weights W and momentum B (C,D), keys (C). update() replaces W and B; the rest is read off."""

    def __init__(self, param, ranks, X, labels, W, B, keys):
        self.param, self.X, self.labels, self.W, self.B, self.keys = param, X, labels, W, B, keys
        self.N, self.C, self.D = len(X), len(W), len(W[0])
        self.rows, self.linear = range(self.N), param["head"] == "linear"
        self.classes = sampled_classes(param, self.C, labels, keys, ranks)
        self.owned = [0 <= t < self.C for t in labels]
        self.cosines()
        self.softmax()
        self.gradient_of_logits()

    def cosines(self):
        """[3.1, 3.2]"""
        if self.param["unowned_label"] == "ignore":  # [3.8] dropped rows take no part, not even with a NaN
            self.X = [x if 0 <= y < self.C or all(map(finite, x)) else [0.0] * self.D for x, y in zip(self.X, self.labels)]
        self.ex, self.nx = zip(*[norm(x) for x in self.X])
        self.ew, self.nw = zip(*[norm(w) for w in self.W])
        self.dx = [1.0 if self.linear else clamped(n) for n in self.nx]
        self.dw = [1.0 if self.linear else clamped(n) for n in self.nw]
        self.z = {}
        for i in self.rows:
            for c in self.classes:
                dot = product_sum(self.X[i], self.ex[i], self.W[c], self.ew[c], self.ex[i] + self.ew[c] - 124)
                self.z[i, c] = dot if self.linear else div(dot, self.dx[i] * self.dw[c])

    def softmax(self):
        """[3.3 to 3.7]"""
        head, self.logit, self.slope = Head(self.param), {}, {}
        for i, c in self.z:
            self.logit[i, c], self.slope[i, c] = head(self.z[i, c], c == self.labels[i])
        self.M, self.S, E = [], [], {}
        for i in self.rows:
            of_row = [self.logit[i, c] for c in self.classes]
            self.M.append(NAN if any(math.isnan(l) for l in of_row) else max(of_row, default=-INF))
            for c in self.classes:
                E[i, c] = px_exp(self.logit[i, c] - self.M[i])
            no_number = not finite(self.M[i])
            self.S.append(0.0 if not self.classes else NAN if no_number else scalar_sum([E[i, c] for c in self.classes], 0))
        self.p = {ic: div(E[ic], self.S[ic[0]]) for ic in self.z}
        self.a = [self.p[i, self.labels[i]] if self.owned[i] else 0.0 for i in self.rows]
        self.counts = [owned or self.param["unowned_label"] != "ignore" for owned in self.owned]
        self.n = float(sum(self.counts))
        losses = [self.row_loss(i) for i in self.rows if self.counts[i]]
        self.loss = scalar_sum(losses, expo(losses)) / self.n if self.n else 0.0

    def row_loss(self, i):
        if self.param["loss"] == "clamp":
            return -px_log(1e-30 if self.a[i] < 1e-30 else self.a[i])
        assert self.owned[i], "loss lse with an unowned label"
        return px_log(self.S[i]) - (self.logit[i, self.labels[i]] - self.M[i])

    def gradient_of_logits(self):
        """[3.8] An ignored row is 0 even where its slope is NaN."""
        self.G, self.H = {}, {}
        for i, c in self.z:
            onehot = 1.0 if c == self.labels[i] else 0.0
            self.G[i, c] = (self.p[i, c] - onehot) / self.n if self.counts[i] else 0.0
            self.H[i, c] = self.G[i, c] * self.slope[i, c] if self.counts[i] else 0.0

    def projection(self, pairs):
        """[3.9, 3.10] q: the sum of H z over a row or a class; not for head linear."""
        terms = [self.H[ic] * self.z[ic] for ic in pairs]
        return 0.0 if self.linear else scalar_sum(terms, expo(terms))

    def back_through_norm(self, v, n, d, x, q):
        """[3.9, 3.10] Backward of x / max(|x|, 1e-12); n is the norm, d the clamped norm."""
        if self.linear:
            return v
        return div(v if n < EPS else fma(-div(x, d), q, v), d)

    def x_grad(self):
        """[3.9]"""
        result = []
        for i in self.rows:
            h = [(self.H[i, c] if self.linear else self.H[i, c] / self.dw[c]) * 2.0**self.ew[c] for c in self.classes]
            en, q, row = expo(h), self.projection([(i, c) for c in self.classes]), []
            for d in range(self.D):
                column = [self.W[c][d] for c in self.classes]
                factors = [(self.H[i, c], div(self.W[c][d], self.dw[c])) for c in self.classes]
                F = product_sum(h, en, column, [self.ew[c] for c in self.classes], en - 124, factors)
                row.append(self.back_through_norm(F, self.nx[i], self.dx[i], self.X[i][d], q) * self.param["xgrad_scale"])
            result.append(row if self.counts[i] else [0.0] * self.D)
        return result

    def weight_grad(self):
        """[3.10]"""
        result = [[0.0] * self.D for _ in range(self.C)]
        for c in self.classes:
            u = [(self.H[i, c] if self.linear else self.H[i, c] / self.dx[i]) * 2.0**self.ex[i] for i in self.rows]
            ec, q = expo(u), self.projection([(i, c) for i in self.rows])
            for d in range(self.D):
                factors = [(self.H[i, c], div(self.X[i][d], self.dx[i])) for i in self.rows]
                v = product_sum(u, ec, [x[d] for x in self.X], list(self.ex), ec - 124, factors)
                result[c][d] = self.back_through_norm(v, self.nw[c], self.dw[c], self.W[c][d], q)
        return result

    def update(self, weight_grad):
        """[3.11] All rows under the dense rule, the gradient 0 where not sampled."""
        for c in range(self.C) if self.param["momentum_rule"] == "dense" else self.classes:
            for d in range(self.D):
                self.W[c][d], self.B[c][d] = sgd(self.param, self.W[c][d], self.B[c][d], weight_grad[c][d])

    def table(self, values):
        return [[values.get((i, c), NAN) for c in range(self.C)] for i in self.rows]

    def intermediate(self):
        return {"sample_keys": self.keys, "cosine": self.table(self.z), "logits": self.table(self.logit), "row_max": self.M, "row_sum": self.S,
                "prob_target": self.a, "dlogits": self.table(self.G)}


def sgd(param, w, buf, grad):
    """[3.11]"""
    mu = param["momentum"]
    g = fma(param["weight_decay"], w, grad) if param["weight_decay"] != 0 else grad
    if mu != 0:
        buf = fma(mu, buf, g)
        g = fma(mu, buf, g) if param["nesterov"] else buf
    return fma(-param["lr"], g, w), buf


def run(case, ranks):
    """All steps of a case: (results, steps), names as in case-format.md, nested lists."""
    param = dict(case["param"])
    if param["xgrad_scale"] is None:
        param["xgrad_scale"] = float(ranks)
    W, B = [list(row) for row in case["weight"]], [list(row) for row in case["weight_momentum"]]
    losses, x_grads = [], []
    for t in range(param["steps"]):
        if t > 0:  # a port stores its state in float32
            W, B = ([[float32(x) for x in row] for row in state] for state in (W, B))
        keys = case["sample_keys"](t)
        if keys is None:
            keys = [class_key(param["seed"], c, param["first_step"] + t) for c in range(len(W))]
        labels = case["labels"](t)
        if any(not 0 <= y < len(W) for y in labels) and param["unowned_label"] == "error":
            raise SystemExit("unowned label under unowned_label=error")
        step = Step(param, ranks, case["features"](t), labels, W, B, keys)
        losses.append(step.loss)
        x_grads.append(step.x_grad())
        weight_grad = step.weight_grad()
        step.update(weight_grad)
    out = {"loss": losses, "x_grad": x_grads if case["x_grad_has_steps"] else x_grads[0], "weight_grad": weight_grad, "weight": W,
           "weight_momentum": B, "sampled": [int(c in set(step.classes)) for c in range(len(W))]}
    return out, step.intermediate()
