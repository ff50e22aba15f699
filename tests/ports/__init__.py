"""Plain ports of every algorithm of doc/semantics.md to float32 NumPy on simulated ranks, right ones and wrong ones: the proof of `pfc_ref check`.

A module is a family; its tables say which goldens to make, what may be changed and where the change is first seen:

    GOLDENS   name -> Golden
    WRONG     [Fault(name, golden, step, algorithm)]: step is the first tensor of /step that is wrong, "" if only /out is
    RIGHT     [Variant(name, golden, options of Precision)]: correct, but computed in another way
    port(case, q, change) -> (out, steps)   change: "" or the name of a fault or variant
"""
from collections import namedtuple

# What `pfc_ref golden` is asked for: ranks, sizes, parameters and the fill; or inputs(seed) -> name -> array, in the place of sizes and fill.
Golden = namedtuple("Golden", "algorithm ranks size param fill inputs", defaults=("", "normal", None))
Fault = namedtuple("Fault", "name golden step types", defaults=("", ("f32", "tf32", "bf16")))
Variant = namedtuple("Variant", "name golden options", defaults=({},))
# A golden as a port sees it: parameters (resolved), inputs (float32, int64; margins and sample_keys float64), number of ranks.
Case = namedtuple("Case", "algorithm param inputs ranks")
