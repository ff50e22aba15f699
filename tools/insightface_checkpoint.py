#!/usr/bin/env python3
"""Converts between checkpoints of `pfc_ref train` and insightface's files of PartialFC, one per rank. Needs PyTorch, h5py and numpy.

    insightface_checkpoint.py from-insightface DIR --like TEMPLATE.h5 -o CHECKPOINT.h5 [--step N] [--zero-momentum]
    insightface_checkpoint.py to-insightface CHECKPOINT.h5 --ranks P -o DIR [--style rank|checkpoint] [--like checkpoint_gpu_0.pt] [--gpus G]
    insightface_checkpoint.py reshard DIR --classes C --ranks P -o DIR2 [--zero-momentum] [--gpus G]

insightface (recognition/arcface_torch) has had two styles. In both, of P ranks rank r holds C div P + (r < C mod P) classes, in order.

    rank         partial_fc.py, 2021: rank_R_softmax_weight.pt and rank_R_softmax_weight_mom.pt (before that rank:R_softmax_...), a tensor each:
                 weights and momentum of all the rank's classes. No step: --step tells it.
    checkpoint   train_v2.py, since 2022: checkpoint_gpu_R.pt, a dict with epoch, global_step, state_dict_backbone, state_dict_softmax_fc (weight),
                 state_optimizer, state_lr_scheduler. The head is the only parameter of the optimizer's last group; with partial_fc_v2.py its momentum_buffer
                 has all the rank's classes. With partial_fc.py of 2022 and sample_rate < 1 it has those that the last step sampled: the others' momentum is in
                 no file, nor are the last step's updates of the weights, and insightface itself goes on with momentum 0. So does --zero-momentum here;
                 without it such files are refused.

from-insightface: weights, momentum and global_step from DIR, all else (settings, digests of the data) from TEMPLATE.h5, a checkpoint of the run that goes
on: `pfc_ref train ... --checkpoint template --stop-at 1` writes one. reshard: the momentum as well as AdamW's two averages; what is not the head's (backbone,
schedule, counters) is rank 0's, whose backbone is what insightface saves as model.pt: statistics of batch norm differ between ranks. to-insightface: in style
checkpoint the files hold the head, its optimizer state and global_step; with --like, a file of the run they go to, all else is from there. partial_fc.py of
2021 leaves tensors where they were saved: --gpus G says cuda:(rank mod G), for G ranks on a machine; without it they are the CPU's.

Numbers are float32 on both sides: a checkpoint of exact mode has float64, rounded here as the next step would round it. Files appear under their names when
they are whole. Exit status: 0, 2 usage, 3 bad file.
"""
import argparse
import collections
import contextlib
import hashlib
import io
import os
import pickle
import re
import shutil
import sys
import zipfile

import h5py
import numpy as np

STYLES = {"rank": re.compile(r"rank[_:](\d+)_softmax_weight\.pt"), "checkpoint": re.compile(r"checkpoint_gpu_(\d+)\.pt")}
TENSORS = ("head.weight", "head.momentum")


class BadFile(Exception):
    pass


class Head:
    """weight (C,D) float32; state: the optimizer's, name -> (C,D) float32 or what is the same on all ranks; step, or None; rest: rank 0's dict, or None."""

    def __init__(self, weight, state, step, rest):
        self.weight, self.state, self.step, self.rest = weight, state, step, rest


def shard_of(classes, ranks, rank):
    """First class and number of classes (doc/semantics.md 2.2)."""
    each, more = divmod(classes, ranks)
    return each * rank + min(rank, more), each + (rank < more)


def shape(a):
    return "(" + ",".join(map(str, a.shape)) + ")"


# ---- insightface: reading ----

STORAGES = {"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "LongStorage": "int64",
            "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool"}


class ZipReader(pickle.Unpickler):
    """What torch.save has written since 1.6: a zip file with a pickle and the numbers. Takes tensors, numbers and what holds them; nothing of the file runs."""

    def __init__(self, archive):
        self.archive, self.name = archive, next((n for n in archive.namelist() if n.endswith("/data.pkl")), "data.pkl")
        super().__init__(io.BytesIO(archive.read(self.name)))

    def find_class(self, module, name):
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known = {"collections.OrderedDict": collections.OrderedDict, "torch._utils._rebuild_tensor_v2": self.tensor,
                 "torch._utils._rebuild_parameter": lambda data, *_: data}
        if f"{module}.{name}" not in known:
            raise BadFile(f"found {module}.{name}, expected tensors, numbers and dicts")
        return known[f"{module}.{name}"]

    def persistent_load(self, storage):
        import torch
        _, dtype, key, _, _ = storage
        data = bytearray(self.archive.read(f"{os.path.dirname(self.name)}/data/{key}"))
        return torch.frombuffer(data, dtype=getattr(torch, dtype)) if data else torch.empty(0, dtype=getattr(torch, dtype))

    @staticmethod
    def tensor(storage, offset, size, stride, *_):
        return storage.as_strided(size, stride, offset)


def load(path):
    """PyTorch before 1.13 has no weights_only, and that of 1.13 stops at a float, such as a learning rate."""
    import torch
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of many kinds, from the unpickler up
        pass
    try:
        with zipfile.ZipFile(path) as archive:
            return ZipReader(archive).load()
    except Exception as e:
        raise BadFile(f"{path}: {str(e)[:300]}") from e


def array(where, value):
    """A tensor of rows of float32."""
    import torch
    if not torch.is_tensor(value):
        raise BadFile(f"{where}: found {type(value).__name__}, expected a tensor")
    if value.dtype != torch.float32 or value.dim() != 2 or value.layout != torch.strided:
        raise BadFile(f"{where}: found {value.dtype} {shape(value)}, expected torch.float32 with two axes")
    return value.detach().numpy()


def item(path, tree, *names):
    for depth, name in enumerate(names):
        if not isinstance(tree, dict) or name not in tree:
            raise BadFile(f"{path}: {'.'.join(map(str, names[:depth + 1]))}: found nothing, expected an item of insightface's checkpoint")
        tree = tree[name]
    return tree


def find_files(folder):
    """Style, and paths by rank."""
    if not os.path.isdir(folder):
        raise BadFile(f"{folder}: found no folder, expected one with insightface's files")
    names = {s: {int(m[1]): n for n in sorted(os.listdir(folder)) if (m := r.fullmatch(n))} for s, r in STYLES.items()}
    styles = [s for s in STYLES if names[s]]
    if len(styles) != 1:
        raise BadFile(f"{folder}: found {'files of two styles' if styles else 'no such file'}, expected rank_0_softmax_weight.pt... or checkpoint_gpu_0.pt...")
    found = names[styles[0]]
    for rank in range(max(found)):
        if rank not in found:
            raise BadFile(f"{folder}: found a file of rank {max(found)}, {found[max(found)]}, but none of rank {rank}")
    return styles[0], [os.path.join(folder, found[r]) for r in range(len(found))]


def head_parameter(path, tree):
    """Number of the head's parameter in the optimizer: that of the last group."""
    groups = item(path, tree, "state_optimizer", "param_groups")
    numbers = item(path, groups[-1], "params") if isinstance(groups, list) and groups else ()
    if len(numbers) != 1:
        raise BadFile(f"{path}: state_optimizer: found {len(numbers)} parameters in the last group, expected the head's weight alone")
    return numbers[0]


def read_rank(path, with_state):
    """Style rank: weight, optimizer state, step, dict."""
    momentum = path[:-len(".pt")] + "_mom.pt"
    if with_state and not os.path.exists(momentum):
        raise BadFile(f"{momentum}: found no file, expected the momentum of {os.path.basename(path)}; --zero-momentum goes on without")
    return array(path, load(path)), {"momentum_buffer": array(momentum, load(momentum))} if with_state else {}, None, None


def read_checkpoint(path, with_state):
    """The same of style checkpoint."""
    tree = load(path)
    weight, step = array(f"{path}: state_dict_softmax_fc.weight", item(path, tree, "state_dict_softmax_fc", "weight")), tree.get("global_step")
    if step is not None and (not isinstance(step, int) or step < 0):
        raise BadFile(f"{path}: global_step: found {step!r}, expected a number of steps")
    state = item(path, tree, "state_optimizer", "state", head_parameter(path, tree)) if with_state else {}
    if not isinstance(state, dict):
        raise BadFile(f"{path}: state_optimizer: found {type(state).__name__}, expected a dict")
    return weight, {name: numbers(path, name, value, weight) for name, value in state.items()}, step, tree


def numbers(path, name, value, weight):
    """An entry of the head's optimizer state: one number (AdamW's step), or as many as weights."""
    import torch
    if not torch.is_tensor(value) or value.dim() == 0:
        return value
    where = f"{path}: state_optimizer: {name}"
    if array(where, value).shape != weight.shape:
        raise BadFile(f"{where}: found {shape(value)}, expected {shape(weight)}: with partial_fc.py of 2022 it has what the last step sampled; "
                      "--zero-momentum goes on without")
    return array(where, value)


def plain(state):
    """The optimizer's state without arrays."""
    return {name: "an array" if isinstance(value, np.ndarray) else str(value) for name, value in state.items()}


def check_shards(folder, paths, shards, classes):
    """Every rank's arrays have their place."""
    total, width = sum(len(s[0]) for s in shards), shards[0][0].shape[1]
    if total != classes:
        raise BadFile(f"{folder}: found {total} classes in {len(paths)} files, expected {classes}")
    for rank, (path, (weight, state, step, _)) in enumerate(zip(paths, shards)):
        want = (shard_of(total, len(paths), rank)[1], width)
        if weight.shape != want:
            raise BadFile(f"{path}: found {shape(weight)}, expected ({want[0]},{want[1]}), rank {rank}'s of {len(paths)} with {total} classes")
        if step != shards[0][2]:
            raise BadFile(f"{path}: global_step: found {step}, expected {shards[0][2]} as in {os.path.basename(paths[0])}")
        for name, value in state.items():
            if isinstance(value, np.ndarray) and value.shape != want:
                raise BadFile(f"{path}: {name}: found {shape(value)}, expected {shape(weight)}, those of the weights")
        if plain(state) != plain(shards[0][1]):
            raise BadFile(f"{path}: found optimizer state {plain(state)}, expected {plain(shards[0][1])} as in {os.path.basename(paths[0])}")


def read_head(folder, classes, with_state):
    """Style and head."""
    style, paths = find_files(folder)
    shards = []
    for path in paths:
        shards.append((read_rank if style == "rank" else read_checkpoint)(path, with_state))
        if len(shards) > 1:
            shards[-1] = (*shards[-1][:3], None)  # one backbone is enough
    check_shards(folder, paths, shards, classes)
    first = shards[0]
    state = {n: np.concatenate([s[1][n] for s in shards]) if isinstance(v, np.ndarray) else v for n, v in first[1].items()}
    return style, Head(np.concatenate([s[0] for s in shards]), state, first[2], first[3])


# ---- insightface: writing ----

def write_head(folder, style, head, ranks, gpus):
    """All files in a folder beside it, which then gets the name."""
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise BadFile(f"{folder}: found something there, expected a new or empty folder")
    part = f"{folder.rstrip('/')}.tmp-{os.getpid()}"
    os.mkdir(part)
    try:
        for rank in range(ranks):
            (write_rank if style == "rank" else write_checkpoint)(part, head, rank, slice_of(len(head.weight), ranks, rank), gpus)
        os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def slice_of(classes, ranks, rank):
    start, count = shard_of(classes, ranks, rank)
    return slice(start, start + count)


def tensor(a, rows):
    """Own memory: torch.save writes all of what a tensor is a part of."""
    import torch
    return torch.from_numpy(a[rows].astype("f4"))


def save(tree, path, rank, gpus):
    import torch
    from torch import serialization
    known = list(serialization._package_registry)
    if gpus:  # a tensor of the CPU, said to be a GPU's
        serialization.register_package(0, lambda storage: f"cuda:{rank % gpus}", lambda storage, location: None)
    try:
        torch.save(tree, path)
    finally:
        serialization._package_registry[:] = known


def write_rank(folder, head, rank, rows, gpus):
    for name, a in (("", head.weight), ("_mom", head.state["momentum_buffer"])):
        save(tensor(a, rows), os.path.join(folder, f"rank_{rank}_softmax_weight{name}.pt"), rank, gpus)


def write_checkpoint(folder, head, rank, rows, gpus):
    tree = dict(head.rest, state_dict_softmax_fc={"weight": tensor(head.weight, rows)})
    if head.step is not None:
        tree["global_step"] = head.step
    if "state_optimizer" in tree:
        number = head_parameter(folder, tree)
        states = {n: s for n, s in tree["state_optimizer"]["state"].items() if n != number}
        if head.state:
            states[number] = {n: tensor(a, rows) if isinstance(a, np.ndarray) else a for n, a in head.state.items()}
        tree["state_optimizer"] = {**tree["state_optimizer"], "state": states}
    save(tree, os.path.join(folder, f"checkpoint_gpu_{rank}.pt"), rank, gpus)


# ---- pfc_ref ----

@contextlib.contextmanager
def checkpoint(path, mode="r"):
    """The open file, of a head without sub-centers."""
    try:
        with h5py.File(path, mode) as f:
            found = f.attrs.get("format", "nothing")
            if found != b"pfc-checkpoint":
                raise BadFile(f"attribute format: found {found}, expected pfc-checkpoint")
            for name in TENSORS:
                if name not in f["state"]:
                    raise BadFile(f"/state/{name}: found nothing, expected a checkpoint of a head")
                if (unit := f["state"][name].attrs["unit"]) != 1:
                    raise BadFile(f"/state/{name}: found unit {unit}, expected 1: insightface's PartialFC has no sub-centers")
            yield f
    except (BadFile, OSError, KeyError, ValueError) as e:
        raise BadFile(f"{path}: {e}") from e


def digest(a):
    return np.bytes_(hashlib.sha256(np.ascontiguousarray(a)).hexdigest())


def read_tensor(f, name):
    a, stored = f["state"][name][()], f["state"][name].attrs["sha256"]
    if digest(a) != stored:
        raise BadFile(f"/state/{name}: found data with SHA-256 {digest(a).decode()}, expected {stored.decode()}: it is damaged")
    return a.astype("f4")


def sgd_alone(facts):
    """What state_optimizer is for a torch.optim.SGD with no parameter but the head's weight."""
    return {"state": {}, "param_groups": [{"lr": float(facts["base_lr"]), "momentum": float(facts["momentum"]), "dampening": 0,
                                           "weight_decay": float(facts["weight_decay"]), "nesterov": bool(facts["nesterov"]), "params": [0]}]}


def write_like(template, path, head):
    """A copy of the template with the head's numbers, its digests and step."""
    part = f"{path}.tmp-{os.getpid()}"
    try:
        shutil.copyfile(template, part)
        with checkpoint(part, "r+") as f:
            for name, a in zip(TENSORS, (head.weight, head.state["momentum_buffer"])):
                stored = f["state"][name]
                stored[()] = a.astype(stored.dtype)
                stored.attrs.modify("sha256", digest(stored[()]))
            f["fact"].attrs.modify("step", np.int64(head.step))
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


# ---- commands ----

def need_momentum(head, zero, what):
    """SGD's momentum and nothing else."""
    if zero:
        head.state = {"momentum_buffer": np.zeros_like(head.weight)}
    if not isinstance(head.state.get("momentum_buffer"), np.ndarray) or len(head.state) != 1:
        raise BadFile(f"{what}: found optimizer state {plain(head.state)}, expected SGD's momentum_buffer; --zero-momentum goes on with 0")


def compare_settings(path, facts, head):
    """Settings that both sides have and that differ are told, not refused: a user may want them changed."""
    group = head.rest["state_optimizer"]["param_groups"][-1] if head.rest and "state_optimizer" in head.rest else {}
    for name in ("momentum", "weight_decay", "nesterov"):
        if name in group and group[name] != facts[name]:
            print(f"{path}: /fact/{name}: the run goes on with {facts[name]:g}, state_optimizer has {group[name]:g}")


def from_insightface(a):
    with checkpoint(a.like) as f:
        facts, (classes, width) = dict(f["fact"].attrs), f["state/head.weight"].shape
        others = [n for n in f["state"] if n not in TENSORS]
    if others:
        raise BadFile(f"{a.like}: found tensor {others[0]}, expected the head's alone: it would not belong to this head")
    style, head = read_head(a.source, classes, not a.zero_momentum)
    if head.weight.shape[1] != width:
        raise BadFile(f"{a.source}: found {shape(head.weight)}, expected ({classes},{width}) as in {a.like}")
    need_momentum(head, a.zero_momentum, a.source)
    head.step = head.step if a.step is None else a.step
    if head.step is None:
        raise BadFile(f"{a.source}: files of style {style} have no step: give --step N")
    compare_settings(a.like, facts, head)
    write_like(a.like, a.out, head)
    print(f"{a.out}: {shape(head.weight)} after step {head.step}")


def to_insightface(a):
    with checkpoint(a.source) as f:
        facts = dict(f["fact"].attrs)
        weight, momentum = (read_tensor(f, name) for name in TENSORS)
        head = Head(weight, {"momentum_buffer": momentum}, int(facts["step"]), None)
        others = [n for n in f["state"] if n not in TENSORS]
    if a.like:
        weight, state, _, head.rest = read_checkpoint(a.like, True)
        if weight.shape[1] != head.weight.shape[1]:
            raise BadFile(f"{a.like}: state_dict_softmax_fc.weight: found {shape(weight)}, expected width {head.weight.shape[1]} as in {a.source}")
        if state.keys() - {"momentum_buffer"}:
            raise BadFile(f"{a.like}: found optimizer state {sorted(state)}, expected SGD's momentum_buffer")
    else:
        head.rest = {"state_optimizer": sgd_alone(facts)}
    write_head(a.out, a.style, head, a.ranks, a.gpus)
    print(f"{a.out}: {shape(head.weight)} in {a.ranks} parts" + "".join(f"; not taken: {n}" for n in others))


def reshard(a):
    style, head = read_head(a.source, a.classes, not a.zero_momentum)
    if style == "rank":
        need_momentum(head, a.zero_momentum, a.source)
    elif not a.zero_momentum and not any(isinstance(v, np.ndarray) for v in head.state.values()):
        raise BadFile(f"{a.source}: found optimizer state {plain(head.state)} of the head, expected momentum; --zero-momentum leaves it out")
    write_head(a.out, style, head, a.ranks, a.gpus)
    print(f"{a.out}: {shape(head.weight)} in {a.ranks} parts")


def count(text):
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected 1 or more")
    return int(text)


def step_number(text):
    return 0 if text == "0" else count(text)


def parse(arguments):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(required=True, metavar="COMMAND")

    def command(name, work, source, out):
        c = commands.add_parser(name)
        c.set_defaults(work=work)
        c.add_argument("source", metavar=source)
        c.add_argument("-o", "--out", required=True, metavar=out)
        return c

    c = command("from-insightface", from_insightface, "DIR", "CHECKPOINT.h5")
    c.add_argument("--like", required=True, metavar="TEMPLATE.h5", help="a checkpoint of the run that goes on")
    c.add_argument("--step", type=step_number, metavar="N", help="steps done, where the files do not say it or another is wanted")
    c.add_argument("--zero-momentum", action="store_true", help="begin with momentum 0")
    c = command("to-insightface", to_insightface, "CHECKPOINT.h5", "DIR")
    c.add_argument("--style", choices=sorted(STYLES), default="checkpoint")
    c.add_argument("--like", metavar="checkpoint_gpu_0.pt", help="style checkpoint: where all that is not the head's comes from")
    r = command("reshard", reshard, "DIR", "DIR2")
    r.add_argument("--classes", type=count, required=True, metavar="C", help="num_classes of the run: a missing last file shows in nothing else")
    r.add_argument("--zero-momentum", action="store_true", help="begin with momentum 0")
    for c in (c, r):
        c.add_argument("--ranks", type=count, required=True, metavar="P")
        c.add_argument("--gpus", type=count, metavar="G", help="tensors come back on cuda:(rank mod G)")
    a = p.parse_args(arguments)
    if os.path.realpath(a.out) in (os.path.realpath(a.source), os.path.realpath(getattr(a, "like", None) or a.source)):
        p.error("the output is one of the inputs")
    if getattr(a, "style", "") == "rank" and a.like:
        p.error("--like: files of style rank have nothing but the head")
    return a


def main(arguments=None):
    a = parse(arguments)
    try:
        a.work(a)
    except (BadFile, ImportError, OSError, MemoryError, RuntimeError) as e:
        print("insightface_checkpoint.py: " + " ".join(str(e).split()), file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
