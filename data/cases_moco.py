"""The moco_shuffle and moco cases. moco has a loss for each rank, so its cases are defined for one number of ranks (w2: two, ...); a shuffle is the same for
any number that divides the batch. N: rows of the batch, D: width, K: keys in the queue.
"""
import math

import numpy as np


def drawn(s):
    """Images of 3 x 2; the permutation is drawn from a seed of more than 32 bits."""
    return "moco_shuffle", {"seed": 0x123456789AB, "step": 7}, {"x": s.uniform(120, 3, 2)}


def given(s):
    """Every rank's rows go to all others: row j of the shuffled batch is row 7 j mod 120."""
    return "moco_shuffle", {}, {"x": s.uniform(120, 3), "permutation": 7 * np.arange(120) % 120}


def bits(s):
    """-0, subnormals and the largest numbers are moved as they are."""
    x = s.uniform(40, 4)
    x[:, 1] = np.float32(-0.0)
    x[:, 2] = np.float32(1e-45)
    x[::3, 3] = np.finfo(np.float32).max
    return "moco_shuffle", {"seed": 1}, {"x": x}


def problem(s, N, K, D, n=24, **param):
    query, queue = s.uniform(N, D), s.uniform(K, D)
    queue /= np.array([[math.sqrt(math.fsum(float(x)**2 for x in row))] for row in queue], np.float32)
    inputs = {"params_q": s.uniform(n), "params_k": s.uniform(n), "query": query, "key": query + s.uniform(N, D) / 2, "queue": queue}
    return "moco", param, inputs


def plain(s, world):
    return problem(s, 24, 24, 8, world=world)


def sharp(s):
    """The original repository's temperature, a quick momentum."""
    return problem(s, 24, 24, 8, world=2, temperature=0.07, momentum=0.9)


def first(s):
    return problem(s, 12, 36, 8, world=3, first_call=1, queue_ptr=12)


def wrap(s):
    """K is no multiple of N, and the keys run over the end of the ring."""
    return problem(s, 20, 47, 8, world=5, queue_wrap=1, queue_ptr=41)


def more_than_queue(s):
    """More keys than the queue holds: the last ones stay."""
    return problem(s, 24, 7, 8, world=4, queue_wrap=1, queue_ptr=3)


def corners(s):
    """Zero and tiny queries, a zero key, a positive that is in the queue together with its opposite, a zero row of the queue."""
    algorithm, param, x = problem(s, 16, 32, 8, world=2)
    x["query"][0] = 0
    x["query"][1] *= np.float32(1e-20)
    x["key"][2] = 0
    x["key"][3] = 4 * x["query"][3]
    x["queue"][:2] = [x["query"][3], -x["query"][3]]
    x["queue"][5] = 0
    return algorithm, param, x


SHIPPED = {
    "shuffle_drawn": drawn,
    "shuffle_given": given,
    "shuffle_bits": bits,
    "moco_plain_w1": lambda s: plain(s, 1),
    "moco_plain_w2": lambda s: plain(s, 2),
    "moco_plain_w3": lambda s: plain(s, 3),
    "moco_plain_w8": lambda s: plain(s, 8),
    "moco_sharp_w2": sharp,
    "moco_first_w3": first,
    "moco_wrap_w5": wrap,
    "moco_full_w4": more_than_queue,
    "moco_corners_w2": corners,
}
