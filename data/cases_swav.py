"""The cases of sinkhorn (sk_), swav (swav_) and lr_schedule (lr_). N of sinkhorn is a multiple of 120 where any number of ranks will do (1, 2, 3, 5 and 8
divide it); swav has an axis of ranks, so every case is for one number of them.
"""
import numpy as np

N, K = 120, 7


def sinkhorn(edit=None, n=N, **param):
    def make(s):
        scores = s.uniform(n, K)
        if edit:
            edit(scores)
        return "sinkhorn", param, {"scores": scores}
    return make


def overflow(scores):
    """Scores over epsilon of 800 overflow in float64, too, and become each rank's largest finite value; 80 is within float32."""
    scores[0, 1], scores[5, 0], scores[-1, 2] = 40, 4, 41


def nobody(scores):
    """exp of -1000 is 0 on every rank."""
    scores[:, 3] = -50


def tiny(scores):
    """A prototype with e^-650 of the others' mass. In float32 its row sum is 0, so nothing here is decidable for a float32 port."""
    scores[:, 3] -= np.float32(32.5)


def faint(scores):
    """A prototype with e^-55 of the others' mass: some of its elements vanish in float32, its row sum does not."""
    scores[:, 3] -= np.float32(2.75)


def ties(scores):
    scores[::2] = scores[0]
    scores[1::4] = 0.25


def numbers(iterations):
    """semantics 10.5."""
    def make(_):
        scores = np.array([[.9, .1, -.2], [.8, .3, 0], [.7, .2, .1], [-.1, .4, .6]], np.float32)
        return "sinkhorn", {"iterations": iterations}, {"scores": scores}
    return make


def swav(world, bs, v, assign=(0, 1), length=0, edit=None, k=9, d=6, **param):
    def make(s):
        x = {"embedding": s.uniform(world, v * bs, d), "prototypes": s.uniform(k, d), "crops_for_assign": np.array(assign)}
        if length:
            x["queue"] = s.uniform(world, len(assign), length, d) / np.float32(2)
        if edit:
            edit(x)
        return "swav", {"world": world, "crops": v, **param}, x
    return make


def empty(x):
    """No row of the queue has been filled."""
    x["queue"][:] = 0


def half_full(x):
    """The first position's last row is zero, the second's is not: the flag goes on at the second."""
    x["queue"][:, 0, -2:] = 0


def corners(x):
    """A zero row and one below the clamp of the norm, a zero prototype, a row equal to a prototype."""
    e, p = x["embedding"], x["prototypes"]
    p[2] = 0
    e[0, 0], e[0, 1], e[-1, 2] = 0, e[0, 1] * np.float32(2.0**-60), 3 * p[4]


def lr(base, final, start, warmup, epochs, steps):
    return lambda _: ("lr_schedule", {"base_lr": base, "final_lr": final, "start_warmup": start, "warmup_epochs": warmup, "epochs": epochs,
                                      "steps_per_epoch": steps}, {})


SHIPPED = {
    "sk_v1": sinkhorn(),
    "sk_v2": sinkhorn(version="v2"),
    "sk_vissl": sinkhorn(nobody, version="vissl"),
    "sk_log": sinkhorn(nobody, version="log"),
    "sk_plain": sinkhorn(stabilise=0, epsilon=0.02, iterations=2),
    "sk_tiny": sinkhorn(tiny),
    "sk_faint": sinkhorn(faint),
    "sk_ties": sinkhorn(ties, iterations=1),
    "sk_v2_zero": sinkhorn(version="v2", iterations=0),
    "sk_overflow_w2": sinkhorn(overflow, n=8, stabilise=0, world=2),
    "sk_g": numbers(3),
    "swav_w1": swav(1, 3, 4),
    "swav_w2": swav(2, 3, 3, (0, 2), 6),
    "swav_carried_w3": swav(3, 2, 3, (1, 0), 4, half_full),
    "swav_empty_w8": swav(8, 1, 2, (0,), 2, empty, freeze_prototypes=1),
    "swav_stable_w5": swav(5, 1, 3, temperature=5e-4, log_softmax="stable", version="vissl"),
    "swav_corners_w2": swav(2, 2, 3, (1,), version="log", iterations=2, edit=corners),
    "swav_flag_w2": swav(2, 2, 2, (0, 1), 2, empty, version="v2", use_the_queue=1, iterations=1),
    "lr_default": lr(4.8, 0.0048, 0.3, 2, 7, 11),
    "lr_no_warmup": lr(1.0, 0.0, 0.5, 0, 5, 8),
}
