"""lr_schedule, semantics.md 5.7."""
import numpy as np

from . import Fault, Golden, Variant

GOLDENS = {"schedule": Golden("lr_schedule", 1, "", "base_lr=4.8,final_lr=0.0048,start_warmup=0.1,warmup_epochs=2,epochs=8,steps_per_epoch=5")}
WRONG = [
    Fault("warm-up without its last value", "schedule"),
    Fault("cosine reaches final_lr", "schedule"),
    Fault("rate of the epoch, not the step", "schedule"),
    Fault("one step late", "schedule"),
    Fault("final_lr left out", "schedule"),
    Fault("no warm-up", "schedule"),
]
RIGHT = [Variant("", "schedule"), Variant("half the angle", "schedule"), Variant("", "schedule", {"sums": "float64"})]


def port(case, q, change):
    p = case.param
    warm, rest = p["warmup_epochs"] * p["steps_per_epoch"], (p["epochs"] - p["warmup_epochs"]) * p["steps_per_epoch"]
    base, final = q.real(p["base_lr"]), q.real(0 if change == "final_lr left out" else p["final_lr"])
    rise = np.linspace(p["start_warmup"], p["base_lr"], warm, endpoint=change != "warm-up without its last value")
    if change == "no warm-up":
        rise = rise * 0 + p["base_lr"]
    t = np.arange(rest)
    if change == "rate of the epoch, not the step":
        t = t // p["steps_per_epoch"] * p["steps_per_epoch"]
    angle = (np.pi * t / (rest - 1 if change == "cosine reaches final_lr" else rest)).astype(q.real)
    share = np.cos(angle / 2)**2 if change == "half the angle" else (1 + np.cos(angle)) / 2
    lr = np.concatenate([rise.astype(q.real), final + (base - final) * share])
    return {"lr": np.roll(lr, 1) if change == "one step late" else lr}, {}
