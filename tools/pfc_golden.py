"""Compares a port's arrays with a golden of pfc_ref, and writes a port's arrays as a file for `pfc_ref check`. Needs h5py and numpy.

In a test of your own (doc/porting.md walks through it):

    from pfc_golden import assert_golden, load

    def test_head():
        golden = load("golden.h5")
        out, step = my_port(golden.param, golden.inputs)         # dicts of arrays: NumPy, PyTorch, numbers
        assert_golden("golden.h5", out, step, dtype="bf16")      # or with rank=1, of=4: one rank's part

It passes where |got - want| <= bound for every element: gate G1 of `pfc_ref check`, which has further gates and says more about what it finds:

    write_candidate("mine.h5", golden.algorithm, out, step)      # then: pfc_ref check golden.h5 mine.h5 --dtype bf16
"""
import collections
import hashlib
import os

import h5py
import numpy as np

BF16 = np.dtype([("bf16", "<u2")])  # an array of bfloat16 bit patterns; NumPy has no such type

# What a rank holds of a result: the axis that is cut, with its letter (case-format.md, "Global order"). What isn't here every rank holds whole.
# Counted from the end where a leading axis (steps) may be missing.
_CUT = {
    "partial_fc": {"x_grad": ("N", -2), "weight_grad": ("C", 0), "weight": ("C", 0), "weight_momentum": ("C", 0), "sampled": ("C", 0),
                   "sample_keys": ("C", 0), "cosine": ("C", 1), "logits": ("C", 1), "dlogits": ("C", 1)},
    "arcface_head": {"logits": ("C", 1), "subcenter": ("C", 1), "x_grad": ("N", 0), "weight_grad": ("C", 0), "bias_grad": ("C", 0), "cosine": ("C", 1),
                     "prob": ("C", 1)},
    "sinkhorn": {"assignment": ("N", 0)},
    "swav": dict.fromkeys(("loss", "assignment", "embedding_grad", "queue", "scores", "dscores"), ("P", 0)),
    "moco_shuffle": {"shuffled": ("N", 0), "unshuffled": ("N", 0)},
    "moco": {"loss": ("P", 0), "query_grad": ("N", 0), "key": ("N", 0), "logits": ("N", 0)},
    "group_gather": {"output": ("P", 0), "grad_input": ("P", 0)},
    "batch_norm": {**dict.fromkeys(("running_mean", "running_var", "split_running_mean", "split_running_var", "weight_grad", "bias_grad",
                                    "mean", "var", "sum_g", "sum_gx"), ("P", 0)), "y": ("rows", 0), "x_grad": ("rows", 0)},
}

# Stored type -> unit roundoff, half the smallest number, largest number: what storing a result costs.
_STORED = {"f16": (2.0**-11, 2.0**-25, 65504.0), "bf16": (2.0**-8, 0.0, np.inf)}

Comparison = collections.namedtuple("Comparison", "name verdict elements bad ratio index got want bound note")


class Golden:
    """algorithm, param (name -> value), inputs, out and step (name -> array; step in data-flow order)."""

    def __init__(self, path):
        self.path = os.fspath(path)
        with h5py.File(self.path, "r") as f:
            if _text(f.attrs.get("format")) != "pfc-case" or not f.get("out"):
                raise ValueError(f"{self.path}: found no golden of pfc_ref, expected attribute format=pfc-case and results in /out")
            self.algorithm = _text(f.attrs["algorithm"])
            self.param = {name: _text(value.item() if np.ndim(value) else value) for name, value in f["param"].attrs.items()}
            self.inputs = {name: d[()] for name, d in f.get("in", {}).items()}
            self.out, self.step = ({name: self._checked(d) for name, d in _in_order(f.get(group, {}))} for group in ("out", "step"))
            self.dtypes = list(f.get("bound", {}))

    def _checked(self, dataset):
        a, digest = dataset[()], _text(dataset.attrs.get("sha256"))
        if digest and hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() != digest:
            raise ValueError(f"{self.path}: {dataset.name}: its data no longer has the digest in attribute sha256")
        return a

    def bound(self, dtype="f32"):
        """"out/loss" -> its bounds for a port in dtype, broadcast to its shape. exact: None for everything; f64: float32's, times 2^-29."""
        group, factor = ("f32", 2.0**-29) if dtype == "f64" else (dtype, 1.0)
        shapes = {f"{g}/{name}": a for g, part in (("out", self.out), ("step", self.step)) for name, a in part.items()}
        if dtype == "exact":
            return dict.fromkeys(shapes)
        if group not in self.dtypes:
            raise ValueError(f"{self.path}: /bound/{group}: found nothing, expected one of {', '.join(self.dtypes) or 'none'} (pfc_ref golden --dtype makes it)")
        with h5py.File(self.path, "r") as f:
            stored = f[f"bound/{group}"]
            return {name: np.broadcast_to(stored[name][()] * factor, a.shape) for name, a in shapes.items() if name in stored}


def load(path):
    return Golden(path)


def write_candidate(path, algorithm, out, step=None):
    """out, step: name -> array. float16 and bfloat16 (BF16, ml_dtypes, PyTorch) are kept as they are; bool becomes int64. algorithm may be None."""
    part = os.fspath(path) + ".part"
    try:
        with h5py.File(part, "w") as f:
            f.attrs["format"], f.attrs["format_version"] = np.bytes_("pfc-case"), np.int64(1)
            if algorithm:
                f.attrs["algorithm"] = np.bytes_(algorithm)
            for group, tensors in (("out", out), ("step", step or {})):
                for name, value in tensors.items():
                    _write(f.require_group(group), name, as_array(value))
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def _write(group, name, a):
    if a.dtype != BF16:
        group.create_dataset(name, data=a.astype(a.dtype.newbyteorder("<")), track_times=False)
        return
    kind = h5py.h5t.IEEE_F32LE.copy()  # sign, exponent and fraction of bfloat16, then the size
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_precision(16)
    kind.set_ebias(127)
    kind.set_size(2)
    space = h5py.h5s.create_simple(a.shape) if a.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    dataset = h5py.h5d.create(group.id, os.fsencode(name), kind, space)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(a), mtype=kind)


def as_array(value):
    """An array of a type that case files have. PyTorch tensors on any device; their bfloat16 becomes BF16."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return to_bf16(value.float().numpy()) if str(value.dtype) == "torch.bfloat16" else as_array(value.numpy())
    a = np.asarray(value)
    if a.dtype.name == "bfloat16":  # ml_dtypes
        return to_bf16(a.astype("f4"))
    if a.dtype == BF16 or a.dtype.kind in "iu" or (a.dtype.kind == "f" and a.dtype.itemsize <= 8):
        return a
    if a.dtype.kind == "b":
        return a.astype("i8")
    raise TypeError(f"found an array of {a.dtype}, expected real numbers or integers")


def to_bf16(x):
    """float32 -> the bits of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, "<f4").reshape(np.shape(x)).view("<u4")
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), 0x7FC0, rounded).astype("<u2").view(BF16)


def from_bf16(bits):
    return (bits["bf16"].astype("<u4") << np.uint32(16)).view("<f4")


# ---- comparison ----

def assert_golden(golden_path, out, step=None, dtype="f32", rank=None, of=None, sound=False):
    """AssertionError unless every result of the golden is in `out` and within its bound, and every array in `step` too; it names the first step,
    in data-flow order, that isn't. rank, of: the arrays are this rank's parts. sound: the wider bounds that no rounding can break.
    Gate G1 only: the verdict is that of pfc_ref check, which has more gates."""
    golden = load(golden_path)
    results = compare(golden, out, step, dtype + "-sound" if sound else dtype, rank, of)
    if status(results):
        raise AssertionError(describe(golden, results, dtype, sound))


def compare(golden, out, step=None, dtype="f32", rank=None, of=None):
    """A Comparison for each result of the golden and each given step, in data-flow order."""
    bounds, results = golden.bound(dtype), []
    for group, wanted, given in (("step", golden.step, step or {}), ("out", golden.out, out)):
        for name in given.keys() - wanted.keys():
            raise AssertionError(f"{golden.path}: found {group} \"{name}\", expected one of {', '.join(wanted) or 'none: pfc_ref golden --steps makes them'}")
        for name, want in wanted.items():
            if group == "step" and name not in given:
                continue  # a port writes the steps it has
            cut = _part(golden, name, want, rank, of) if (rank, of) != (None, None) else None
            key = f"{group}/{name}"
            results.append(_compare_one(key, given.get(name), want, bounds.get(key), cut, dtype))
    return results


def _part(golden, name, want, rank, of):
    """(axis, start, count) of the rank; None: it holds everything."""
    if rank is None or of is None or not 0 <= rank < of:
        raise ValueError(f"found rank={rank}, of={of}, expected rank from 0 up, below of")
    letter, axis = _CUT.get(golden.algorithm, {}).get(name, ("", 0))
    if not letter or want.ndim == 0:
        return None
    axis %= want.ndim
    length, rows = want.shape[axis], golden.inputs.get("rows") if letter == "rows" else None
    if letter == "N" and length % of or letter == "P" and length != of or rows is not None and len(rows) != of:
        raise ValueError(f"{golden.path}: {name}: an axis of {length} is not cut over {of} ranks")
    if rows is not None:
        return axis, int(rows[:rank].sum()), int(rows[rank])
    # blocks, the first `longer` of them one longer; the sub-centers of a class stay together
    unit = golden.param.get("num_subcenters", 1) if name in ("weight_grad", "bias_grad") else 1
    each, longer = divmod(length // unit, of)
    return axis, unit * (each * rank + min(rank, longer)), unit * (each + (rank < longer))


def _compare_one(key, got, want, bound, cut, dtype):
    if cut:
        where = (slice(None),) * cut[0] + (slice(cut[1], cut[1] + cut[2]),)
        want, bound = want[where], None if bound is None else bound[where]
    nothing = Comparison("/" + key, "PASS", want.size, 0, 0.0, None, None, None, None, "this rank holds nothing of it")
    if got is None:
        return nothing._replace(verdict="MISSING", note=f"found nothing, expected {_shape(want)}")
    got, integer = as_array(got), want.dtype.kind in "iu"
    if integer != (got.dtype.kind in "iu") or (dtype == "exact" and not integer and got.dtype != want.dtype):
        return nothing._replace(verdict="DTYPE", note=f"found {_shape(got)}, expected {_shape(want)}")
    if got.shape != want.shape and {got.shape, want.shape} != {(), (1,)}:
        return nothing._replace(verdict="SHAPE", note=f"found {_shape(got)}, expected {_shape(want)}")
    if bound is None and not integer and dtype != "exact":
        raise ValueError(f"/bound/{dtype}/{key}: found nothing, expected the bound of this tensor")
    if want.size == 0:
        return nothing if cut else nothing._replace(verdict="VACUOUS", note="it has no elements")
    return _judge(nothing, got.reshape(want.shape), want, bound, cut)


def _judge(blank, got, want, bound, cut):
    """Element by element. NaN equals NaN; without a bound, reals are compared bit by bit; an integer is right, wrong or (bound +inf) undecidable."""
    integer, g = want.dtype.kind in "iu", from_bf16(got) if got.dtype == BF16 else got
    limit = np.zeros(want.shape) if bound is None else np.where(np.isinf(bound), bound, 0.0) if integer else bound + _stored_error(got, want)
    with np.errstate(all="ignore"):
        equal = (g == want) | (g != g) & (want != want)
        if bound is None and not integer:
            equal &= (np.signbit(g) == np.signbit(want)) | np.isnan(want)
        distance = np.abs(g.astype("f8") - want.astype("f8"))  # NaN or infinite where only one of them is finite
        beyond = ~equal & ~np.isinf(limit)
        ratio = np.where(beyond, distance / limit, 0.0)
    ratio[np.isnan(ratio)] = np.inf
    bad = beyond if bound is None or integer else beyond & ~(distance <= limit)
    if np.all(np.isinf(limit)) and not (np.all(equal) and got.dtype == want.dtype):
        return blank._replace(verdict="VACUOUS", note="its bounds allow anything: nothing was compared")
    at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    index = tuple(int(i) + (cut[1] if cut and k == cut[0] else 0) for k, i in enumerate(at))
    word = "NONFINITE" if np.any(bad & ~np.isfinite(distance)) else "FAIL" if bad.any() else "PASS"
    return blank._replace(verdict=word, bad=int(bad.sum()), ratio=float(ratio[at]), index=index, got=g[at].item(), want=want[at].item(),
                          bound=float(limit[at]), note=f", {_index(at)} of this rank's part" if cut else "")


def _stored_error(got, want):
    """What rounding the result to the type it is stored in may have added."""
    kind = "bf16" if got.dtype == BF16 else "f16" if got.dtype == np.float16 else None
    if kind is None or want.dtype.kind != "f":
        return 0.0
    u, tiny, largest = _STORED[kind]
    size = np.abs(np.where(np.isfinite(want), want, 0.0))
    return np.where(size > largest, np.inf, np.minimum(np.maximum(u * size, tiny), size))


# ---- what was found ----

def status(results):
    """As the exit status of `pfc_ref check`: 0 all within their bounds, 1 something differs, 3 nothing to compare."""
    words = {r.verdict for r in results}
    if words & {"FAIL", "NONFINITE"}:
        return 1
    compared = any(r.name.startswith("/out/") and r.verdict == "PASS" and r.index is not None for r in results)
    lacking = any(r.verdict != "PASS" and not (r.verdict == "VACUOUS" and r.name.startswith("/step/")) for r in results)
    return 3 if lacking or not compared else 0


def describe(golden, results, dtype="f32", sound=False):
    wrong = [r for r in results if r.verdict != "PASS"]
    lines = [f"{golden.algorithm}, {golden.path}: {len(wrong)} of {len(results)} tensors are not right as {dtype}{', sound' if sound else ''}"]
    steps = [r for r in results if r.name.startswith("/step/")]
    first = next((r for r in steps if r.verdict not in ("PASS", "VACUOUS")), None)
    if first:
        lines.append(f"first divergence in data-flow order: {first.name}; what follows from it may differ too")
    elif wrong:
        lines.append(f"all {len(steps)} given steps are right" if steps else "no steps were given: they would tell where it goes wrong first")
    return "\n".join(lines + [_line(r) for r in wrong])


def _line(r):
    if r.index is None:
        return f"{r.name} {r.verdict}: {r.note}"
    return (f"{r.name} {r.verdict}: {r.bad} of {r.elements} elements ({100 * r.bad / r.elements:.3g} %), worst is {r.ratio:.3g} times its bound, at "
            f"{_index(r.index)}{r.note}: got {r.got:.9g}, want {r.want:.9g}, bound {r.bound:.3g}")


def _index(index):
    return "(" + ",".join(map(str, index)) + ")"


def _shape(a):
    return f"{'bf16' if a.dtype == BF16 else a.dtype} {_index(a.shape)}"


def _in_order(group):
    return sorted(group.items(), key=lambda item: int(item[1].attrs.get("order", 0)))


def _text(value):
    return value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value
