"""exact-v1 of partial_fc in Python integers, as a document: section 3 of doc/exact-v1.md line by line, the paragraphs in brackets."""
import math

from exact_v1_core import (EPS, INF, NAN, class_key, clamped, div, expo, finite, float32, fma, norm, product_sum, px_exp, px_log, px_sincos,
                           scalar_sum, shard, sqrt, with_defaults)

DEFAULTS = {"margin": 0.0, "sample_rate": 1.0, "num_sample": None, "sample_rule": "shard", "seed": 0, "first_step": 0, "lr": 0.0, "momentum": 0.9,
            "weight_decay": 0.0, "nesterov": 0, "steps": 1, "xgrad_scale": None, "loss": "clamp", "arc_gradient": "exact", "arc_fallback": "none",
            "cos_clamp": 0, "interclass_threshold": 0.0, "momentum_rule": "lazy", "unowned_label": "source"}


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


def run_case(case, ranks):
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


def case_of(param, inputs):
    """Parameters and arrays of a case file as run_case takes them: lists, and a function of the step for what may change with it."""
    def per_step(array, ndim):
        return (lambda t: None) if array is None else (lambda t: (array if array.ndim == ndim else array[t]).tolist())

    param = with_defaults(param, DEFAULTS)
    features, weight = inputs["features"], inputs["weight"]
    momentum = inputs["weight_momentum"] if "weight_momentum" in inputs else 0.0 * weight
    return {"param": param, "weight": weight.tolist(), "weight_momentum": momentum.tolist(), "features": per_step(features, 2),
            "labels": per_step(inputs["labels"], 1), "sample_keys": per_step(inputs.get("sample_keys"), 1),
            "x_grad_has_steps": features.ndim == 3 or param["steps"] != 1}


def run(algorithm, param, inputs, ranks):
    case = case_of(param, inputs)
    out, step = run_case(case, ranks)
    if not samples(case["param"]):
        del step["sample_keys"]
    return out, step


# ---- known answers ---------------------------------------------------------------------------------------------------------------------------

def golden_case(ranks, **param):
    """semantics.md 10.1: inputs by a formula, in double."""
    def mat(seed, rows, cols):
        return [[math.sin(1.0 + 0.7 * (a * cols + b) + 1.3 * seed) for b in range(cols)] for a in range(rows)]
    case = {"param": dict(DEFAULTS, xgrad_scale=1.0, **param), "weight": mat(2, 5, 4), "weight_momentum": [[0.0] * 4 for _ in range(5)],
            "features": lambda t: mat(1, 4, 4), "labels": lambda t: [0, 3, 4, 1], "sample_keys": lambda t: [0.9, 0.8, 0.1, 0.9, 0.8],
            "x_grad_has_steps": False}
    return run_case(case, ranks)


GOLDEN = [  # head, scale, margin, gradient, loss, x_grad row 0, weight_grad of class 3
    ("linear", 1.0, 0.0, "exact", 1.589853494745, ".2044305994 .1848098000 .0782700640 -.0650813062", ".0823723796 .0261631471 -.0423510224 -.0909468443"),
    ("cos", 16.0, 0.4, "exact", 11.024397157547, "1.4442496734 2.0286100997 1.6588834982 .5089580667", ".0901167788 .0970635944 .0583598849 -.0077913904"),
    ("arc", 16.0, 0.5, "exact", 11.219629818744, "1.4735162361 2.0697182583 1.6924994434 .5192716943", ".1311140711 .1412212375 .0849098492 -.0113359679"),
    ("circle", 16.0, 0.25, "exact", 16.812555530310, "1.4531952246 2.0411751262 1.6691584718 .5121105067", ".4066774891 .4380269620 .2633655104 -.0351608560"),
    ("arc", 16.0, 0.5, "straight_through", 11.219629818744, "1.4442496943 2.0286101291 1.6588835223 .5089580741",
     ".0899168076 .0968482081 .0582303830 -.0077741011"),
]


def self_test(check):
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
