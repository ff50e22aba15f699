"""Generated inputs once more, from doc/fills.md: regenerates random elements of every tensor of the suite and compares them with the files bit for bit.

    python3 tests/fills.py LIST.json DIR...     LIST.json: pfc_ref list --json; DIR: goldens of the suite

Every fill of every algorithm of the list has to occur. The functions g needs (log, sine, cosine) are those of exact_v1_core.py, a version of their own of doc/exact-v1.md 2.
"""
import functools
import json
import math
import os
import random
import struct
import sys

import h5py
import numpy as np

from exact_v1_core import float32, philox4x32, px_log, px_sincos

PI = float.fromhex("0x1.921fb54442d18p+1")
LARGEST = float.fromhex("0x1.fffffep0")
LOW = 0xFFFFFFFF


class Fill:
    """The numbers of one seed (1 and 2 of the document) and what a family's rules look at."""

    def __init__(self, kind, seed, given, shape):
        self.kind, self.seed, self.given, self.shape = kind, seed, given, shape
        for name in ("u", "g", "lattice_row", "row"):
            setattr(self, name, functools.lru_cache(maxsize=None)(getattr(self, name)))

    def words(self, t, i):
        return philox4x32([i & LOW, i >> 32 & LOW, t, 4], [self.seed & LOW, self.seed >> 32 & LOW])

    def u(self, t, i):
        x = self.words(t, i)
        return ((x[0] << 32 | x[1]) >> 11) * 2.0**-53

    def g(self, t, i):
        x = self.words(t, i // 2)
        u1, u2 = (((x[0] << 32 | x[1]) >> 11) + 1) * 2.0**-53, ((x[2] << 32 | x[3]) >> 11) * 2.0**-53
        sine, cosine = px_sincos(2.0 * PI * u2)
        return math.sqrt(-2.0 * px_log(u1)) * (sine if i % 2 else cosine)

    def sign(self, t, i):
        return -1.0 if self.u(t + 16, i) < 0.5 else 1.0

    def wide(self, t, i):
        return math.ldexp(self.g(t, i), int(48.0 * self.u(t + 32, i)) - 24)

    def lattice_row(self, t, row, D):
        need, out = 1, []
        while 4 * need <= D:
            need *= 4
        for j in range(D):
            take = self.u(t, row * D + j) * (D - j) < need
            out.append(self.sign(t, row * D + j) if take else 0.0)
            need -= take
        return out

    def near(self, t, row, w, f, part):
        D = len(w)
        q = math.sqrt(total(x * x for x in w)) / (part * math.sqrt(D))
        return [float32(f * x + q * self.g(t, row * D + j)) for j, x in enumerate(w)]

    def at(self, t, row, w, angle):
        D = len(w)
        g = [self.g(t, row * D + j) for j in range(D)]
        ww = total(x * x for x in w)
        share = total(a * x for a, x in zip(g, w)) / ww if ww > 0 else 0.0
        v = [a - share * x for a, x in zip(g, w)]
        vv = total(x * x for x in v)
        sine, cosine = px_sincos(angle)
        a, b = cosine / math.sqrt(ww) if ww > 0 else 0.0, sine / math.sqrt(vv) if vv > 0 else 0.0
        return [float32(a * x + b * y) for x, y in zip(w, v)]

    def row(self, name, r):
        """A row of the tensors that are made row by row, rounded to float32."""
        return self.rows[name](self, r)

    def element(self, name, i):
        width = self.shape[name][-1] if self.shape[name] else 1
        return self.row(name, i // width)[i % width] if name in self.rows else self.elements[name](self, i)


def total(terms):
    """In the order of the index (sum() of newer Pythons compensates)."""
    s = 0.0
    for x in terms:
        s += x
    return s


def coin(u):
    return -1.0 if u < 0.5 else 1.0


class PartialFc(Fill):
    def weight(self, c):
        D = self.shape["weight"][1]
        if self.kind == "lattice":
            return self.lattice_row(2, c, D)
        v = c % 6 if self.kind == "hard" else 0
        if v == 3:
            return self.row("weight", c - 3)
        at = range(c * D, c * D + D)
        if v == 1:
            return [float32(self.wide(2, i)) for i in at]
        if v == 2:
            return [LARGEST * self.sign(2, i) for i in at]
        if v == 4:
            return [float32(-0.01 * self.g(2, i - 4 * D)) for i in at]
        return [float32((2.0**-50 if v == 5 else 0.01) * self.g(2, i)) for i in at]

    def owned(self, r):
        C, n = self.shape["weight"][0], r % self.shape["labels"][-1]
        if self.kind == "hard" and n < 2:
            return 0 if n == 0 else C - 1
        u = self.u(1, r)
        return min(int((u * u if self.kind == "hard" else u) * C), C - 1)

    def label(self, r):
        rule = self.given.get("unowned_label")
        unowned = self.kind == "hard" and (rule == "ignore" or (rule == "source" and self.given.get("loss") != "lse"))
        return -1 if unowned and r % 16 == 9 else self.shape["weight"][0] + 3 if unowned and r % 16 == 11 else self.owned(r)

    def features(self, r):
        D = self.shape["features"][-1]
        if self.kind == "lattice":
            return self.lattice_row(0, r, D)
        pole = self.given.get("head") == "arc" and self.given.get("cos_clamp") != "1"
        return self.variants(r, D, lambda: self.row("weight", self.owned(r)), float(self.given.get("margin", 0)), 4, 64.0 if pole else 1024.0)

    def variants(self, r, D, w, m, angle, part):
        v, at = r % 8 if self.kind == "hard" else 0, range(r * D, r * D + D)
        if v == 0:
            return [float32(self.g(0, i)) for i in at]
        if v == 1:
            return [float32(self.wide(0, i)) for i in at]
        if v == 2:
            return [LARGEST * self.sign(0, i) for i in at]
        if v == 5:
            return self.at(0, r, w(), PI - m + self.g(angle, r) / 256.0)
        return [0.0] * D if v == 6 else self.near(0, r, w(), -3.0 if v == 4 else 3.0, part if v == 7 else 64.0)

    def inputs(self):
        names = {"features", "labels", "weight"} | (set() if self.kind == "lattice" else {"weight_momentum"})
        sampled = "num_sample" in self.given or float(self.given.get("sample_rate", 1)) < 1
        return names | ({"sample_keys"} if sampled and self.kind == "hard" else set())

    rows = {"weight": weight, "features": features}
    elements = {"labels": label, "weight_momentum": lambda f, i: float32(0.01 * f.g(3, i)), "sample_keys": lambda f, i: math.floor(4.0 * f.u(5, i)) / 4.0}


class ArcfaceHead(PartialFc):
    def weight(self, row):
        D, k = self.shape["weight"][1], int(self.given.get("num_subcenters", 1))
        if self.kind == "lattice":
            return self.lattice_row(2, row, D)
        c, j = divmod(row, k)
        hard = self.kind == "hard"
        c -= hard and c % 5 == 4
        last = hard and k > 1 and j == k - 1
        first = (c * k + (0 if last and c % 3 == 1 else j)) * D
        number = self.wide if last and c % 3 == 2 else self.g
        return [float32((2.0**-50 if hard and c % 5 == 2 else 1.0) * number(2, first + d)) for d in range(D)]

    def classes(self):
        return self.shape["weight"][0] // int(self.given.get("num_subcenters", 1))

    def label(self, r):
        if self.kind == "hard" and r < 2:
            return 0 if r == 0 else self.classes() - 1
        return min(int(self.u(1, r) * self.classes()), self.classes() - 1)

    def margin(self, c):
        return float32(0.1 + 0.4 * self.u(3, c))

    def features(self, r):
        D, y = self.shape["features"][1], self.label(r)
        if self.kind == "lattice":
            return self.lattice_row(0, r, D)
        k = int(self.given.get("num_subcenters", 1))
        return self.variants(r, D, lambda: self.row("weight", y * k), self.margin(y), 6, 1024.0 if self.given.get("cos_clamp") == "1" else 64.0)

    def inputs(self):
        names = {"features", "labels", "weight"} | (set() if self.kind == "lattice" else {"margins"})
        return names | ({"soft_targets", "class_weight"} if self.kind == "hard" else set())

    rows = {"weight": weight, "features": features}
    elements = {"labels": label, "margins": margin, "soft_targets": lambda f, i: float32(f.u(4, i) / f.classes()),
                "class_weight": lambda f, i: float32(0.5 + f.u(5, i))}


class Sinkhorn(Fill):
    def score(self, i):
        r, k = divmod(i, self.shape["scores"][1])
        K = self.shape["scores"][1]
        if self.kind == "lattice":
            return math.floor(17.0 * self.u(0, i)) / 8.0 - 1.0
        low, v = (20.0 if K > 1 and k == K - 1 else 0.0, r % 4) if self.kind == "hard" else (0.0, 0)
        return float32([lambda: 2.0 * self.u(0, i) - 1.0, lambda: 0.5, lambda: 3.0 * self.g(0, i), lambda: 1.0 if k == r % K else -1.0][v]() - low)

    def inputs(self):
        return {"scores"}

    rows, elements = {}, {"scores": score}


class Swav(Fill):
    def prototype(self, i):
        K, D = self.shape["prototypes"]
        k = i // D
        if self.kind == "lattice":
            return coin(self.u(2, i))
        if self.kind == "hard" and K > 2 and k == K - 1:
            i, k = i - (k - 1) * D, 1
        return 0.0 if self.kind == "hard" and k == 0 else float32(self.g(2, i))

    def embedding(self, i):
        K, D = self.shape["prototypes"]
        r, v = i // D, i // D % 4 if self.kind == "hard" else 0
        if self.kind == "lattice":
            return coin(self.u(1, i))
        return float32([lambda: self.g(1, i), lambda: 0.0, lambda: self.wide(1, i), lambda: 3.0 * self.prototype(r % K * D + i % D)][v]())

    def queue(self, i):
        return 0.25 * coin(self.u(3, i)) if self.kind == "lattice" else float32(self.g(3, i) / math.sqrt(self.shape["queue"][3]))

    def inputs(self):
        return {"embedding", "prototypes", "crops_for_assign"} | ({"queue"} if "L" in self.given else set())

    rows, elements = {}, {"embedding": embedding, "prototypes": prototype, "queue": queue, "crops_for_assign": lambda f, i: i}


class MocoShuffle(Fill):
    def x(self, i):
        if self.kind == "lattice":
            return math.floor(17.0 * self.u(0, i)) - 8.0
        return float32(self.g(0, i) if self.kind == "normal" else -0.0 if i % 5 == 0 else self.wide(0, i))

    def inputs(self):
        return {"x"}

    rows, elements = {}, {"x": x}


class Moco(Fill):
    def query(self, r):
        D = self.shape["query"][1]
        if self.kind == "lattice":
            return self.lattice_row(1, r, D)
        v = r % 4 if self.kind == "hard" else 0
        number = [self.g, self.wide, lambda t, i: LARGEST * self.sign(t, i), lambda t, i: 0.0][v]
        return [float32(number(1, r * D + j)) for j in range(D)]

    def key(self, r):
        D = self.shape["query"][1]
        if self.kind == "lattice":
            return self.lattice_row(2, r, D)
        q, at = self.row("query", r), range(r * D, r * D + D)
        if self.kind == "normal":
            return [float32(x + 0.5 * self.g(2, i)) for x, i in zip(q, at)]
        s = math.sqrt(total(x * x for x in q)) / math.sqrt(D)
        return [float32(3.0 * x + s * self.g(2, i) / 64.0 if s > 0 else self.wide(2, i)) for x, i in zip(q, at)]

    def queue(self, r):
        D, N = self.shape["query"][1], self.shape["query"][0]
        if self.kind == "lattice":
            row = self.lattice_row(3, r, D)
        else:
            v = r % 6 if self.kind == "hard" else 0
            if v in (2, 3):
                row = [-x if v == 3 else x for x in self.row("query", r % N)]
            elif v == 4:
                row = self.row("key", r % N)
            else:
                row = [0.0 if v == 1 else float32(self.g(3, (r - v) * D + j)) for j in range(D)]
        length = math.sqrt(total(x * x for x in row))
        return [float32(x / length) if length > 0 else 0.0 for x in row]

    def param(self, t, i):
        if self.kind == "lattice":
            return (math.floor(129.0 * self.u(t, i)) - 64.0) / 8.0
        return float32(self.wide(t, i) if self.kind == "hard" else self.g(t, i))

    def inputs(self):
        return {"params_q", "params_k", "query", "key", "queue"}

    rows = {"query": query, "key": key, "queue": queue}
    elements = {"params_q": lambda f, i: f.param(4, i), "params_k": lambda f, i: f.param(5, i)}


class GroupGather(Fill):
    def number(self, t, i):
        p, m = divmod(i, self.shape["input"][1])
        w = self.u(t + 32, i)
        if self.kind == "lattice":
            return math.floor(9.0 * w) - 4.0
        v, g = m % 4 if self.kind == "hard" else 0, self.g(t, i)
        return float32([g, math.ldexp(g, int(48.0 * w) - 24), LARGEST * coin(w), g - 2.0**20 if p % 2 else g + 2.0**20][v])

    def inputs(self):
        return {"input", "grad_output"}

    rows, elements = {}, {"input": lambda f, i: f.number(0, i), "grad_output": lambda f, i: f.number(1, i)}


class BatchNorm(Fill):
    def channel(self, i):
        shape = self.shape["x"]
        return i // math.prod(shape[2:]) % shape[1]

    def whole(self, t, i):
        return math.floor(9.0 * self.u(t, i)) - 4.0

    def extreme(self, t, i, v):
        return math.ldexp(self.g(t, i), int(32.0 * self.u(t + 32, i)) - 16) if v == 3 else LARGEST * self.sign(t, i)

    def x(self, i):
        c = self.channel(i)
        if self.kind == "lattice":
            return self.whole(0, i)
        v = c % 6 if self.kind == "hard" else 0
        if v in (3, 4):
            return float32(self.extreme(0, i, v))
        g = self.g(0, i)
        return float32([self.g(4, c) + (0.5 + self.u(5, c)) * g, 1000.0 + g, self.g(4, c), 0, 0, 16384.0 + g / 64.0][v])

    def grad(self, i):
        if self.kind == "lattice":
            return self.whole(1, i)
        v = self.channel(i) % 6 if self.kind == "hard" else 0
        return float32(self.extreme(1, i, v) if v in (3, 4) else self.g(1, i))

    def inputs(self):
        names = {"x", "grad_y", "weight", "bias"} | (set() if self.kind == "lattice" else {"running_mean", "running_var"})
        return names | ({"split_running_mean", "split_running_var"} if self.given.get("kind") == "sub" and self.kind != "lattice" else set())

    rows = {}
    elements = {"x": x, "grad_y": grad, "weight": lambda f, i: coin(f.u(2, i)) if f.kind == "lattice" else float32(1.0 + f.g(2, i) / 4.0),
                "bias": lambda f, i: f.whole(3, i) if f.kind == "lattice" else float32(f.g(3, i) / 4.0),
                "running_mean": lambda f, i: float32(f.g(6, i) / 4.0), "running_var": lambda f, i: float32(0.5 + f.u(7, i)),
                "split_running_mean": lambda f, i: float32(f.g(8, i) / 4.0), "split_running_var": lambda f, i: float32(0.5 + f.u(9, i))}


class AdaptiveMargins(Fill):
    def count(self, c):
        u = self.u(0, c)
        n = int(1.0 / (u * u + 1e-6))
        return {"normal": n, "lattice": 16 ** (c % 4), "hard": [n, 0, 1, 2**53][c % 4]}[self.kind]

    def inputs(self):
        return {"class_counts"}

    rows, elements = {}, {"class_counts": count}


FAMILIES = {"partial_fc": PartialFc, "arcface_head": ArcfaceHead, "sinkhorn": Sinkhorn, "swav": Swav, "moco_shuffle": MocoShuffle, "moco": Moco,
            "group_gather": GroupGather, "batch_norm": BatchNorm, "adaptive_margins": AdaptiveMargins}


def bits(value, dtype):
    return struct.pack("<q", value) if dtype.kind == "i" else struct.pack("<f" if dtype.itemsize == 4 else "<d", value)


def compare(entry, path):
    """How many elements were compared; a list of what differs."""
    given = dict(item.split("=") for text in (entry["param"], entry["sizes"]) for item in text.split(",") if item)
    bad, count = [], 0
    with h5py.File(path, "r") as file:
        data = {name: d[...] for name, d in file["in"].items()} if "in" in file else {}
        f = FAMILIES[entry["algorithm"]](entry["fill"], entry["seed"], given, {name: a.shape for name, a in data.items()})
        if set(data) != f.inputs():
            return 0, [f"{path}: inputs {sorted(data)}, expected {sorted(f.inputs())}"]
        for name, a in data.items():
            pick = random.Random(entry["name"] + name)
            for i in {0, a.size - 1} | {pick.randrange(a.size) for _ in range(10)}:
                want, got = bits(f.element(name, i), a.dtype), np.ascontiguousarray(a).reshape(-1)[i].tobytes()
                count += 1
                if got != want:
                    bad.append(f"{path}: /in/{name} element {i}: found {got.hex()}, expected {want.hex()}")
    return count, bad


def main():
    listed = json.load(open(sys.argv[1]))
    suite = {entry["name"]: entry for entry in listed["suite"]}
    done, bad, count = set(), [], 0
    for folder in sys.argv[2:]:
        for name in sorted(n[:-3] for n in os.listdir(folder) if n.endswith(".h5")):
            entry = suite.get(name)
            if not entry or entry["algorithm"] == "lr_schedule" or name in done:
                continue
            n, wrong = compare(entry, os.path.join(folder, name + ".h5"))
            done.add(name)
            bad += wrong
            count += n
    seen = {(suite[name]["algorithm"], suite[name]["fill"]) for name in done}
    for algorithm in listed["algorithms"]:
        if algorithm["name"] != "lr_schedule": # has no inputs
            bad += [f"{algorithm['name']}: no case with fill {kind} was compared" for kind in ("normal", "lattice", "hard") if (algorithm["name"], kind) not in seen]
    for line in bad[:20]:
        print(line)
    print(f"{count} elements of {len(done)} cases compared, {len(bad)} different")
    return 1 if bad or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
