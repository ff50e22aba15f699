"""Tiny cases of sinkhorn, swav and lr_schedule: every version, switch and corner. Inputs come from a fixed generator."""
import numpy as np


def rng_of(name):
    return np.random.RandomState(sum(ord(ch) * (k + 1) for k, ch in enumerate(name)))


def sinkhorn_cases():
    def case(name, N, K, edit=None, **param):
        scores = rng_of(name).uniform(-1, 1, (N, K)).astype(np.float32)
        if edit:
            edit(scores)
        return name, "sinkhorn", param, {"scores": scores}

    def overflow(s):
        s[0, 1], s[-1, 0], s[1, 2] = 40, 41, 20

    def nobody(s):
        s[:, 0] = -50

    def vanishing(s):
        s[0] = -50

    def everything(s):
        s[:] = -50

    def special(value):
        def edit(s):
            s[1, 1] = value
        return edit

    for version in ("v1", "v2", "vissl", "log"):
        yield case("any_sk_%s" % version, 6, 5, version=version)
        yield case("w1_sk_%s_0" % version, 3, 4, version=version, iterations=0)
        yield case("w3_sk_%s_plain" % version, 6, 5, version=version, stabilise=0, iterations=2)
        yield case("w1_sk_%s_small_epsilon" % version, 6, 3, version=version, epsilon=0.0029, iterations=2)
        yield case("w3_sk_%s_nobody" % version, 6, 4, nobody, version=version)
        yield case("w1_sk_%s_vanishing" % version, 6, 4, vanishing, version=version, iterations=2)
        yield case("w3_sk_%s_overflow" % version, 6, 4, overflow, version=version, stabilise=0, world=3)
    yield case("w1_sk_everything", 3, 4, everything, stabilise=0, iterations=1)
    for value in (np.inf, -np.inf, np.nan):
        for version in ("v1", "log"):
            yield case("w3_sk_%s_%s" % (version, value), 6, 4, special(value), version=version, iterations=1, stabilise=int(value < 0), allow_nonfinite=1)
    yield case("w1_sk_one_prototype", 3, 1)
    yield case("any_sk_wide_range", 6, 4, lambda s: s.__setitem__((slice(None), 0), s[:, 0] - np.float32(32.5)))


def swav_cases():
    def case(name, world, bs, K, D, V, A=(0, 1), L=0, edit=None, **param):
        rng = rng_of(name)
        inputs = {"embedding": rng.standard_normal((world, V * bs, D)).astype(np.float32), "prototypes": rng.standard_normal((K, D)).astype(np.float32),
                  "crops_for_assign": np.array(A, np.int64)}
        if L:
            inputs["queue"] = (rng.standard_normal((world, len(A), L, D)) / D**0.5).astype(np.float32)
        if edit:
            edit(inputs)
        return "w%d_%s" % (world, name), "swav", dict(param, crops=V), inputs

    def zeros(x):
        x["embedding"][0, 0] = 0
        x["embedding"][0, 1] *= np.float32(1e-20)
        x["prototypes"][1] = 0

    def empty(x):
        x["queue"][:] = 0
        x["queue"][:, 0, 0, 0] = -0.0

    def second_only(x):
        x["queue"][:, 0, -1] = 0

    for world in (1, 3):
        yield case("swav_plain", world, 2, 5, 3, 3)
        yield case("swav_queue", world, 1, 4, 3, 2, L=3)
    yield case("swav_empty_queue", 3, 2, 4, 3, 2, L=4, edit=empty)
    yield case("swav_flag", 1, 1, 4, 3, 2, L=2, edit=empty, use_the_queue=1)
    yield case("swav_carried", 3, 1, 4, 3, 3, A=(2, 0), L=2, edit=second_only)
    yield case("swav_v2", 1, 2, 4, 3, 3, A=(1,), version="v2", iterations=1)
    yield case("swav_vissl", 3, 2, 4, 3, 2, version="vissl", stabilise=0)
    yield case("swav_log", 1, 2, 4, 3, 2, version="log")
    yield case("swav_stable", 1, 2, 4, 3, 2, log_softmax="stable", temperature=5e-4)
    yield case("swav_vanish", 1, 2, 4, 3, 2, temperature=5e-4)
    yield case("swav_frozen", 3, 1, 4, 3, 2, freeze_prototypes=1)
    yield case("swav_one_crop", 1, 2, 4, 3, 1, A=(0,))
    yield case("swav_zeros", 1, 2, 4, 3, 3, edit=zeros)
    yield case("swav_same_crop_twice", 1, 2, 4, 3, 2, A=(0, 0))


def lr_cases():
    for name, base, final, start, warm, epochs, steps in (("plain", 4.8, 0.0048, 0.3, 2, 7, 11), ("no_warmup", 1.0, 0.0, 0.0, 0, 3, 4),
                                                          ("all_warmup", 2.0, 0.1, 0.5, 3, 3, 2), ("one_step", 2.0, 0.1, 0.5, 1, 3, 1)):
        yield "w1_lr_" + name, "lr_schedule", {"base_lr": base, "final_lr": final, "start_warmup": start, "warmup_epochs": warm, "epochs": epochs,
                                                 "steps_per_epoch": steps}, {}


def cases():
    yield from sinkhorn_cases()
    yield from swav_cases()
    yield from lr_cases()
