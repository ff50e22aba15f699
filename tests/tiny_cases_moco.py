"""Tiny moco_shuffle and moco cases: every switch and corner. Inputs come from a fixed generator."""
import numpy as np


def generator(name):
    return np.random.RandomState(sum(ord(ch) * (k + 1) for k, ch in enumerate(name)))


class Maker:
    def __init__(self):
        self.made = []

    def shuffle(self, name, shape, permutation=None, edit=None, **param):
        x = generator(name).standard_normal(shape).astype(np.float32)
        if edit:
            edit(x)
        inputs = {"x": x}
        if permutation is not None:
            inputs["permutation"] = np.asarray(permutation)
        self.made.append((name, "moco_shuffle", param, inputs))

    def moco(self, name, N, K, D, edit=None, n=7, **param):
        rng = generator(name)
        query, noise, queue = (rng.standard_normal(shape) for shape in ((N, D), (N, D), (K, D)))
        inputs = {"params_q": rng.standard_normal(n), "params_k": rng.standard_normal(n), "query": query, "key": query + noise / 2,
                  "queue": queue / np.sqrt((queue**2).sum(1, keepdims=True))}
        if edit:
            edit(inputs, rng)
        self.made.append((name, "moco", param, {key: np.asarray(value, np.float32) for key, value in inputs.items()}))


def bits(x):
    """NaN with payloads, -0, subnormals: they are moved as they are."""
    x.view(np.uint32)[0, :5] = [0x7FC12345, 0x80000000, 1, 0xFF800000, 0xFFC00001]


def shuffles(make):
    make.shuffle("any_shuffle_seed", (24, 2, 2, 3), seed=-1234567890123, step=4294967295)
    make.shuffle("any_shuffle_line", (6,), [1, 2, 3, 4, 5, 0])
    make.shuffle("any_shuffle_bits", (6, 5), [4, 5, 0, 1, 2, 3], bits, allow_nonfinite=1)
    make.shuffle("w5_shuffle_one_each", (5, 3), seed=8)


def switches(make):
    make.moco("any_moco_sharp", 6, 12, 9, temperature=0.1, momentum=0.9, queue_ptr=3)
    make.moco("any_moco_negative", 3, 6, 4, temperature=-0.7, momentum=-1.5)
    make.moco("any_moco_first", 6, 12, 5, first_call=1, queue_ptr=0)
    make.moco("any_moco_wrap", 6, 11, 4, queue_wrap=1, queue_ptr=8)
    make.moco("any_moco_more_than_queue", 9, 4, 3, queue_wrap=1, queue_ptr=3)
    make.moco("w1_moco_one", 1, 1, 1, n=1, momentum=0.0)
    make.moco("w2_moco_two", 4, 8, 6, queue_ptr=4)
    make.moco("any_moco_wide", 3, 6, 200, n=1, momentum=1.0)


def corners(make):
    def zero(inputs, rng):
        inputs["query"][0] = 0
        inputs["query"][1] *= 1e-15
        inputs["key"][2] = 0
        inputs["queue"][3] = 0

    def same(inputs, rng):  # the positive is in the queue, and its opposite
        inputs["key"][0] = 3 * inputs["query"][0]
        inputs["queue"][0] = inputs["query"][0] / np.linalg.norm(inputs["query"][0])
        inputs["queue"][1] = -inputs["queue"][0]

    def huge(inputs, rng):
        inputs["query"] *= 1e30
        inputs["key"] *= 1e-30
        inputs["queue"][2] *= 1e20
        inputs["params_k"] *= 1e30
        inputs["params_q"] *= 1e-30

    def minus_zero(inputs, rng):
        inputs["params_q"][0] = inputs["params_k"][0] = -0.0
        inputs["queue"][:, 0] = -0.0
        inputs["key"][0, 0] = -0.0

    def non_finite(inputs, rng):
        inputs["query"][0, 0] = np.nan
        inputs["query"][1, 1] = np.inf
        inputs["key"][2, 0] = -np.inf
        inputs["params_q"][:3] = [np.nan, np.inf, -np.inf]
        inputs["params_k"][2:5] = [np.inf, np.nan, -np.inf]

    def infinite_queue(inputs, rng):
        inputs["query"][...] = np.abs(inputs["query"]) + 0.5
        inputs["key"][...] = np.abs(inputs["key"])
        inputs["queue"][0, 0] = -np.inf  # a key that cannot be
        inputs["queue"][1, 1] = 1e36

    def nan_queue(inputs, rng):
        inputs["queue"][1, 1] = np.nan
        inputs["queue"][2, 0] = np.inf

    make.moco("any_moco_zero", 6, 6, 4, zero)
    make.moco("any_moco_same", 6, 6, 4, same, temperature=0.05)
    make.moco("any_moco_huge", 6, 6, 4, huge)
    make.moco("any_moco_minus_zero_first", 3, 6, 4, minus_zero, first_call=1)
    make.moco("any_moco_nonfinite", 6, 6, 4, non_finite, allow_nonfinite=1)
    make.moco("any_moco_inf_queue", 3, 6, 4, infinite_queue, allow_nonfinite=1, queue_ptr=3)
    make.moco("any_moco_nan_queue", 3, 6, 4, nan_queue, allow_nonfinite=1, queue_ptr=3)


def cases():
    """(file name, algorithm, parameters, inputs) of every case; make_tiny_cases.py writes them."""
    make = Maker()
    for group in (shuffles, switches, corners):
        group(make)
    return make.made
