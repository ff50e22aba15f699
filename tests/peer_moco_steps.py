#!/usr/bin/env python3
"""PyTorch as a peer of `pfc_ref train`, task moco: goes from one checkpoint of a run to a later one by algorithm 1 of the paper with P ranks simulated, each with
batch norm of its own and its own loss, in float64; compares the whole state to 2e-5 of each tensor's largest value: the program rounds to float32 every step.

    peer_moco_steps.py GLYPHS RANKS BEFORE.h5 AFTER.h5
The run: augment none, norm plain, constant rate, all characters. Exit status: 0 all close, 1 something differs, 77 no PyTorch.
"""
import sys

try:
    import h5py
    import numpy as np
    import torch
except ImportError as missing:
    print("skipped: %s" % missing)
    sys.exit(77)
from exact_v1_core import philox4x32

SHUFFLE, EXAMPLE = 2, 6  # streams


def order(seed, step, stream, count):
    def key(i):
        x = philox4x32([i, 0, step, stream], [seed, 0])
        return (x[0] << 32 | x[1]) >> 11, i
    return sorted(range(count), key=key)


def images_of(path, faces):
    """All examples as rows in [0,1], by character and then by face."""
    data = open(path, "rb").read()
    size, characters, count = np.frombuffer(data, "<u4", 3, 12)
    keys_at, mask = 24 + 4 * characters, (characters + 7) // 8
    keys = [data[keys_at + 32 * f:keys_at + 32 * f + 32].rstrip(b"\0").decode() for f in range(count)]
    assert list(np.frombuffer(data, "<u4", characters, 24)) == sorted(np.frombuffer(data, "<u4", characters, 24))
    rows = []
    for face in [f for f in range(count) if keys[f] in faces]:
        at = keys_at + 32 * count + face * (mask + characters * size * size)
        inked = np.unpackbits(np.frombuffer(data, "u1", mask, at), bitorder="little")[:characters]
        rows.append((inked, np.frombuffer(data, "u1", characters * size * size, at + mask).reshape(characters, -1)))
    return torch.tensor(np.array([r[c] for c in range(characters) for inked, r in rows if inked[c]]), dtype=torch.float64) / 255


class Encoder:
    """Linear without bias, batch norm, ReLU; the last layer without the two. Statistics are those of rank 0."""

    def __init__(self, state, prefix):
        self.prefix, self.layers = prefix, sum(name.startswith(prefix + ".") and name.endswith(".weight") for name in state)
        mine = {name[len(prefix) + 1:]: torch.tensor(np.array(v), dtype=torch.float64) for name, v in state.items() if name.startswith(prefix + ".")}
        self.params = {n: v.requires_grad_() for n, v in mine.items() if n.split(".")[1] in ("weight", "norm_weight", "norm_bias")}
        self.momentum = {n: mine[n.replace("weight", "momentum") if n.endswith(".weight") else n + "_momentum"] for n in self.params if prefix != "key"}
        self.running = {n: v for n, v in mine.items() if n.split(".")[1] in ("running_mean", "running_var", "batches")}

    def forward(self, x, rank):
        for i in range(self.layers):
            p, last = "%d." % i, i + 1 == self.layers
            x = x @ self.params[p + "weight"].T
            if not last:
                statistics = [self.running[p + "running_mean"], self.running[p + "running_var"]] if rank == 0 else [None, None]
                self.running[p + "batches"] += rank == 0
                x = torch.relu(torch.nn.functional.batch_norm(x, *statistics, self.params[p + "norm_weight"], self.params[p + "norm_bias"], training=True))
        return x

    def state(self):
        out = {"%s.%s" % (self.prefix, n): v for n, v in {**self.params, **self.running}.items()}
        for n, v in self.momentum.items():
            out["%s.%s" % (self.prefix, n.replace("weight", "momentum") if n.endswith(".weight") else n + "_momentum")] = v
        return {n: v.detach().numpy() for n, v in out.items()}


def step(fact, ranks, x, number, query, key, queue, ptr):
    """One step; queue (K,D), changed in place."""
    b, tau, mu, lr = len(x) // ranks, float(fact["temperature"]), float(fact["key_momentum"]), float(fact["base_lr"])
    ours = [slice(r * b, r * b + b) for r in range(ranks)]
    q = [query.forward(x[rows], r) for r, rows in enumerate(ours)]
    with torch.no_grad():
        for n, theta in key.params.items():  # with the query's parameters before this step's update
            theta.mul_(mu).add_(query.params[n], alpha=1 - mu)
        permutation = order(int(fact["seed"]), number, SHUFFLE, len(x)) if fact["shuffle"] and ranks > 1 else list(range(len(x)))
        shuffled = torch.cat([key.forward(x[permutation][rows], r) for r, rows in enumerate(ours)])
        keys = torch.empty_like(shuffled)
        keys[permutation] = torch.nn.functional.normalize(shuffled, dim=1)
    losses = []
    for r, rows in enumerate(ours):
        unit = torch.nn.functional.normalize(q[r], dim=1)
        logits = torch.cat([(unit * keys[rows]).sum(1, keepdim=True), unit @ queue.T], 1) / tau
        losses.append(torch.nn.functional.cross_entropy(logits, torch.zeros(b, dtype=torch.long)))
    (sum(losses) / ranks).backward()
    with torch.no_grad():
        for n, p in query.params.items():
            query.momentum[n].mul_(float(fact["momentum"])).add_(p.grad + float(fact["weight_decay"]) * p)
            p -= lr * query.momentum[n]
            p.grad = None
    queue[ptr:ptr + len(x)] = keys
    return (ptr + len(x)) % len(queue)


def replay(glyphs, ranks, before, fact, steps):
    x = images_of(glyphs, fact["train_faces"].split("+"))
    query, key, queue = Encoder(before, "encoder"), Encoder(before, "key"), torch.tensor(before["queue"], dtype=torch.float64)
    N, ptr = int(fact["batch"]), int(fact["queue_ptr"])
    for t in range(int(fact["step"]), steps):
        epoch, at = divmod(t, len(x) // N)
        rows = order(int(fact["seed"]), epoch, EXAMPLE, len(x))[at * N:at * N + N]
        ptr = step(fact, ranks, x[rows], t, query, key, queue, ptr)
    return {**query.state(), **key.state(), "queue": queue.numpy()}, ptr


def read(path):
    with h5py.File(path, "r") as h5:
        fact = {n: v.decode() if isinstance(v, bytes) else v for n, v in h5["fact"].attrs.items()}
        return {name: data[()] for name, data in h5["state"].items()}, fact


def compare(first, second, replay, fits):
    """The exit status. replay(state, facts, last step) is a state and what fits(that, facts) compares with the later checkpoint's facts."""
    before, fact = read(first)
    after, end = read(second)
    want, rest = replay(before, fact, int(end["step"]))
    good = set(want) == set(after) and fits(rest, end)
    for name in sorted(after):
        worst, size = np.max(np.abs(after[name] - want[name])), np.max(np.abs(want[name]))
        if not worst <= 2e-5 * size:
            print("FAIL %s: differs by %g, largest value %g" % (name, worst, size))
            good = False
    print("steps %d to %d: %d tensors compared, %s" % (fact["step"], end["step"], len(after), "alike" if good else "not alike"))
    return 0 if good else 1


def main(glyphs, ranks, first, second):
    return compare(first, second, lambda *state: replay(glyphs, int(ranks), *state), lambda ptr, end: ptr == end["queue_ptr"])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
