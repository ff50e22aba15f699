#!/usr/bin/env python3
"""tools/insightface_checkpoint.py: exact training goes on through insightface's files of 8, 3 and 1 ranks to the same bits; what does not fit is refused."""
import contextlib
import hashlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np

try:
    import torch
except ImportError:
    print("skipped: no PyTorch")
    sys.exit(77)

TOP = os.environ.get("PFC_TOP_SRCDIR", os.path.join(os.path.dirname(__file__), os.pardir))
PFC_REF = os.path.abspath(os.environ.get("PFC_REF", "./pfc_ref"))
MPIRUN = shlex.split(os.environ.get("MPIRUN", "mpirun")) + shlex.split(os.environ.get("MPIRUN_FLAGS", "-q"))
TOOL = os.path.join(TOP, "tools", "insightface_checkpoint.py")
sys.path.insert(0, os.path.join(TOP, "tools"))
import insightface_checkpoint as tool  # noqa: E402

C, D = 43, 6  # 8 ranks: 6 6 6 5 5 5 5 5
SETTINGS = "head=arc,scale=16,margin=0.2,lr=1,weight_decay=0.001,sample_rate=0.5,sample_rule=global"


def convert(status, *arguments):
    """What it prints; errors are one line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            found = tool.main([str(a) for a in arguments])
        except SystemExit as e:
            found = e.code
    assert found == status, (arguments, found, err.getvalue())
    if status == 3:
        assert err.getvalue().startswith("insightface_checkpoint.py: ") and err.getvalue().count("\n") == 1, err.getvalue()
    assert not [n for _, folders, files in os.walk(".") for n in folders + files if ".tmp-" in n]
    return err.getvalue() if status else out.getvalue()


def refused(text, *arguments):
    said = convert(3, *arguments)
    assert text in said, (text, said)


def train(ranks, steps, folder, *arguments, mode="exact", settings=SETTINGS, status=0):
    command = [*MPIRUN, "-np", str(ranks), PFC_REF, "train", "--features", "x.npy", "--labels", "y.npy", "--mode", mode, "--batch", "24", "--steps", "20", "-q",
               "--param", settings, "--stop-at", str(steps), "--checkpoint", folder, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, done
    return f"{folder}/step-{steps:012d}.h5" if status == 0 else done.stderr


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def state(path):
    with h5py.File(path) as f:
        for name in f["state"]:
            assert f["state"][name].attrs["sha256"].decode() == hashlib.sha256(f["state"][name][()].tobytes()).hexdigest()
        return f["state/head.weight"][()], f["state/head.momentum"][()]


def make_data():
    rng = np.random.default_rng(3)
    y = np.repeat(np.arange(C), 4)
    np.save("x.npy", (rng.normal(size=(C, D))[y] + 0.3 * rng.normal(size=(len(y), D))).astype("f4"))
    np.save("y.npy", y)


def test_same_bits():
    """Exact mode: 9 steps, float32 files of 8, 3 and 1 ranks, 11 steps: the bits of 20 steps."""
    whole = contents(train(1, 20, "whole"))
    part, template = train(2, 9, "part"), train(1, 1, "template")
    weight, momentum = (a.astype("f4") for a in state(part))
    assert not np.array_equal(weight, state(part)[0]) and not np.array_equal(weight, state(template)[0])
    for style in tool.STYLES:
        said = convert(0, "to-insightface", part, "--ranks", 8, "--style", style, "-o", f"{style}8")
        assert said == f"{style}8: (43,6) in 8 parts\n", said
        convert(0, "reshard", f"{style}8", "--classes", C, "--ranks", 3, "-o", f"{style}3")
        convert(0, "reshard", f"{style}3/", "--classes", C, "--ranks", 1, "-o", f"{style}1/")
        step = ("--step", 9) if style == "rank" else ()
        for ranks in (8, 3, 1):
            convert(0, "from-insightface", f"{style}{ranks}", "--like", template, "-o", "back.h5", *step)
            assert all(a.dtype == "f8" and np.array_equal(a, b) for a, b in zip(state("back.h5"), (weight, momentum)))
            if ranks != 3:
                assert contents(train(3, 20, f"goes-on-{style}{ranks}", "--resume=back.h5")) == whole, (style, ranks)
    assert sorted(os.listdir("rank3")) == sorted(f"rank_{r}_softmax_weight{m}.pt" for r in range(3) for m in ("", "_mom"))
    assert sorted(os.listdir("checkpoint3")) == [f"checkpoint_gpu_{r}.pt" for r in range(3)]
    at = 0
    for rank, rows in enumerate((15, 14, 14)):
        for name, a in (("", weight), ("_mom", momentum)):
            path = f"rank3/rank_{rank}_softmax_weight{name}.pt"
            assert np.array_equal(torch.load(path), a[at:at + rows]) and os.path.getsize(path) < 1300 + 4 * rows * D
        at += rows
    said = convert(0, "from-insightface", "rank3", "--like", template, "-o", "zero.h5", "--step", 0, "--zero-momentum")
    assert said == "zero.h5: (43,6) after step 0\n" and not state("zero.h5")[1].any() and np.array_equal(state("zero.h5")[0], weight)


def test_same_file():
    """Fast mode has float32: the file that comes back is the file that went."""
    file, template = train(3, 9, "fast", mode="fast"), train(1, 2, "fast-template", mode="fast")
    convert(0, "to-insightface", file, "--ranks", 5, "-o", "fast5")
    convert(0, "from-insightface", "fast5", "--like", template, "-o", "fast.h5")
    assert contents("fast.h5") == contents(file) != contents(template)
    done = subprocess.run([sys.executable, TOOL, "from-insightface", "fast5", "--like", "x.npy", "-o", "no.h5"], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and done.stderr.startswith("insightface_checkpoint.py: x.npy: ") and not os.path.exists("no.h5"), done


# ---- files as insightface writes them ----

class PartialFC(torch.nn.Module):
    """As partial_fc_v2.py keeps a rank's classes: one parameter."""

    def __init__(self, rows):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.normal(0, 0.01, (rows, D)))


def train_rank(rank, ranks, optimizer_class, **settings):
    """One rank of train_v2.py with some network: the checkpoint, the network, the head, the optimizer."""
    torch.manual_seed(1)
    backbone = torch.nn.Sequential(torch.nn.Linear(4, D), torch.nn.BatchNorm1d(D))
    torch.manual_seed(10 + rank)
    head = PartialFC(tool.shard_of(C, ranks, rank)[1])
    optimizer = optimizer_class([{"params": backbone.parameters()}, {"params": head.parameters()}], **settings)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    for _ in range(3):
        torch.nn.functional.linear(backbone(torch.randn(8, 4)), head.weight).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return {"epoch": 2, "global_step": 6, "state_dict_backbone": backbone.state_dict(), "state_dict_softmax_fc": head.state_dict(),
            "state_optimizer": optimizer.state_dict(), "state_lr_scheduler": schedule.state_dict()}, backbone, head, optimizer


def write_ranks(folder, ranks, *optimizer, **settings):
    os.mkdir(folder)
    trees = [train_rank(r, ranks, *optimizer, **settings)[0] for r in range(ranks)]
    for rank, tree in enumerate(trees):
        torch.save(tree, f"{folder}/checkpoint_gpu_{rank}.pt")
    return trees


def joined(trees, *names):
    for name in names:
        trees = [t[name] for t in trees]
    return torch.cat(trees)


HEAD = ("state_dict_softmax_fc", "weight")
MOMENTUM = ("state_optimizer", "state", 4, "momentum_buffer")
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}


def test_train_v2():
    """Files of train_v2.py with 8 ranks on 3: an optimizer and modules of 3 take them; all that is not the head's is rank 0's; and to pfc_ref."""
    old = write_ranks("v2", 8, torch.optim.SGD, **SGD)
    convert(0, "reshard", "v2", "--classes", C, "--ranks", 3, "-o", "v2-3")
    new = [torch.load(f"v2-3/checkpoint_gpu_{r}.pt") for r in range(3)]
    for names in (HEAD, MOMENTUM):
        assert torch.equal(joined(old, *names), joined(new, *names))
    for rank, tree in enumerate(new):
        _, backbone, head, optimizer = train_rank(rank, 3, torch.optim.SGD, **SGD)
        backbone.load_state_dict(tree["state_dict_backbone"])
        head.load_state_dict(tree["state_dict_softmax_fc"])
        optimizer.load_state_dict(tree["state_optimizer"])
        assert torch.equal(optimizer.state[head.weight]["momentum_buffer"], tree["state_optimizer"]["state"][4]["momentum_buffer"])
        for a, b in zip(backbone.state_dict().values(), old[0]["state_dict_backbone"].values()):
            assert torch.equal(a, b)
        assert (tree["epoch"], tree["global_step"], tree["state_lr_scheduler"]) == (2, 6, old[0]["state_lr_scheduler"])
    said = convert(0, "from-insightface", "v2-3", "--like", "template/step-000000000001.h5", "-o", "v2.h5")
    assert "/fact/weight_decay: the run goes on with 0.001, state_optimizer has 0.0005\n" in said and "after step 6\n" in said, said
    assert all(np.array_equal(a, joined(old, *names)) for a, names in zip(state("v2.h5"), (HEAD, MOMENTUM)))
    train(2, 8, "from-v2", "--resume=v2.h5")
    convert(0, "to-insightface", "v2.h5", "--ranks", 2, "--like", "v2/checkpoint_gpu_0.pt", "-o", "v2-2")
    again = [torch.load(f"v2-2/checkpoint_gpu_{r}.pt") for r in range(2)]
    assert torch.equal(joined(again, *MOMENTUM), joined(old, *MOMENTUM)) and again[1]["state_dict_backbone"].keys() == old[0]["state_dict_backbone"].keys()


def test_adamw():
    old = write_ranks("adamw", 2, torch.optim.AdamW, lr=0.001)
    convert(0, "reshard", "adamw", "--classes", C, "--ranks", 5, "-o", "adamw5")
    new = [torch.load(f"adamw5/checkpoint_gpu_{r}.pt") for r in range(5)]
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(joined(old, "state_optimizer", "state", 4, name), joined(new, "state_optimizer", "state", 4, name))
    assert all(t["state_optimizer"]["state"][4]["step"] == 3 for t in new)
    refused("expected SGD's momentum_buffer", "from-insightface", "adamw", "--like", "template/step-000000000001.h5", "-o", "no.h5")
    refused("expected SGD's momentum_buffer", "to-insightface", "v2.h5", "--ranks", 2, "--like", "adamw/checkpoint_gpu_0.pt", "-o", "no")


def test_sampled_momentum():
    """The optimizer of partial_fc.py of 2022 knows the last step's sample alone."""
    trees = write_ranks("sampled", 2, torch.optim.SGD, **SGD)
    for rank, tree in enumerate(trees):
        tree["state_optimizer"]["state"][4]["momentum_buffer"] = tree["state_optimizer"]["state"][4]["momentum_buffer"][:7].clone()
        torch.save(tree, f"sampled/checkpoint_gpu_{rank}.pt")
    like = ("--like", "template/step-000000000001.h5", "-o")
    refused("momentum_buffer: found (7,6), expected (22,6)", "from-insightface", "sampled", *like, "no.h5")
    refused("--zero-momentum goes on without", "reshard", "sampled", "--classes", C, "--ranks", 3, "-o", "no")
    convert(0, "from-insightface", "sampled", *like, "sampled.h5", "--zero-momentum")
    assert np.array_equal(state("sampled.h5")[0], joined(trees, *HEAD)) and not state("sampled.h5")[1].any()
    convert(0, "reshard", "sampled", "--classes", C, "--ranks", 3, "-o", "sampled3", "--zero-momentum")
    assert all(4 not in torch.load(f"sampled3/checkpoint_gpu_{r}.pt")["state_optimizer"]["state"] for r in range(3))


def test_places():
    """--gpus: where a loader without map_location puts them; and the colon of the first names."""
    convert(0, "to-insightface", "v2.h5", "--ranks", 3, "--style", "rank", "--gpus", 2, "-o", "gpus")
    places = []
    for rank in range(3):
        torch.load(f"gpus/rank_{rank}_softmax_weight_mom.pt", map_location=lambda storage, location: places.append(location) or storage)
    assert places == ["cuda:0", "cuda:1", "cuda:0"], places
    for name in os.listdir("gpus"):
        os.rename(f"gpus/{name}", "gpus/" + name.replace("rank_", "rank:"))
    convert(0, "reshard", "gpus", "--classes", C, "--ranks", 2, "-o", "gpus2")
    assert np.array_equal(torch.cat([torch.load(f"gpus2/rank_{r}_softmax_weight_mom.pt") for r in range(2)]), state("v2.h5")[1])


# ---- what does not fit ----

def changed(name, files, change=lambda path: None):
    """A copy of v2-3 or rank3 with a change."""
    shutil.copytree("rank3" if "rank" in files else "v2-3", name)
    change(f"{name}/{files}")
    return name


def edit(path, *names_and_value):
    *names, last, value = names_and_value
    tree = torch.load(path)
    inner = tree
    for name in names:
        inner = inner[name]
    inner[last] = value(inner[last]) if callable(value) else value
    torch.save(tree, path)


def test_refused():
    like = ("--like", "template/step-000000000001.h5", "-o", "no.h5")
    cut = "checkpoint_gpu_1.pt"
    os.mkdir("empty")
    for number, (text, files, change) in enumerate((
            ("found a file of rank 2, rank_2_softmax_weight.pt, but none of rank 1", "rank_1_softmax_weight.pt", os.remove),
            ("rank_1_softmax_weight_mom.pt: found no file", "rank_1_softmax_weight_mom.pt", os.remove),
            ("found a file of rank 2, checkpoint_gpu_2.pt, but none of rank 1", cut, os.remove),
            ("found 29 classes in 2 files, expected 43", "checkpoint_gpu_2.pt", os.remove),
            ("found files of two styles", cut, lambda p: shutil.copy("rank3/rank_0_softmax_weight.pt", os.path.dirname(p))),
            ("checkpoint_gpu_1.pt: File is not a zip file", cut, lambda p: os.truncate(p, 700)),
            ("found posixpath.join, expected tensors, numbers and dicts", cut, lambda p: torch.save({"a": os.path.join}, p)),
            ("state_dict_softmax_fc: found nothing", cut, lambda p: torch.save([1], p)),
            ("rank_1_softmax_weight.pt: found dict, expected a tensor", "rank_1_softmax_weight.pt", lambda p: torch.save({}, p)),
            ("found torch.float16 (14,6), expected torch.float32", "rank_1_softmax_weight.pt", lambda p: torch.save(torch.load(p).half(), p)),
            ("found torch.float32 (84), expected torch.float32 with two axes", "rank_1_softmax_weight.pt", lambda p: torch.save(torch.load(p).flatten(), p)),
            ("rank_1_softmax_weight_mom.pt: found", "rank_1_softmax_weight_mom.pt", lambda p: torch.save(3, p)),
            ("momentum_buffer: found (13,6), expected (14,6)", "rank_1_softmax_weight_mom.pt", lambda p: torch.save(torch.zeros(13, D), p)),
            ("checkpoint_gpu_0.pt: found (14,6), expected (15,6), rank 0's of 3 with 43 classes", cut, lambda p: (
                os.rename(p, p + ".old"), os.rename(p.replace("gpu_1", "gpu_0"), p), os.rename(p + ".old", p.replace("gpu_1", "gpu_0")))),
            ("found (14,5), expected (14,6)", "rank_1_softmax_weight.pt", lambda p: torch.save(torch.zeros(14, 5), p)),
            ("global_step: found 7, expected 6 as in checkpoint_gpu_0.pt", cut, lambda p: edit(p, "global_step", 7)),
            ("global_step: found 'x'", cut, lambda p: edit(p, "global_step", "x")),
            ("found optimizer state {'momentum_buffer': 'None'}", cut, lambda p: edit(p, *MOMENTUM, None)),
            ("state_optimizer.state.4: found nothing", cut, lambda p: edit(p, "state_optimizer", "state", {})),
            ("found 2 parameters in the last group", cut, lambda p: edit(p, "state_optimizer", "param_groups", -1, "params", [4, 5])),
            ("files of style rank have no step: give --step N", "rank_1_softmax_weight.pt", lambda p: None))):
        refused(text, "from-insightface", changed(f"bad{number}", files, change), *like)
    refused("found no such file", "from-insightface", "empty", *like)
    refused("none: found no folder", "from-insightface", "none", *like)
    refused("found 43 classes in 3 files, expected 44", "reshard", "v2-3", "--classes", C + 1, "--ranks", 2, "-o", "no")
    refused("empty2: found something there", "reshard", "v2-3", "--classes", C, "--ranks", 2, "-o", changed("empty2", cut))
    refused("found unit 2, expected 1", "to-insightface", train(1, 1, "sub", settings="head=arcface_head,num_subcenters=2"), "--ranks", 2, "-o", "no")
    for change, text in ((lambda f: f.attrs.modify("format", np.bytes_("pfc-case")), "attribute format: found b'pfc-case', expected"),
                         (lambda f: f["state"].pop("head.momentum"), "/state/head.momentum: found nothing"),
                         (lambda f: f["state/head.weight"].write_direct(np.ones((C, D))), "it is damaged")):
        shutil.copy("v2.h5", "changed.h5")
        with h5py.File("changed.h5", "r+") as f:
            change(f)
        refused(text, "to-insightface", "changed.h5", "--ranks", 2, "-o", "no")
    shutil.copy("v2.h5", "changed.h5")
    with h5py.File("changed.h5", "r+") as f:
        f["state/encoder.0"] = np.ones(3)
    refused("found tensor encoder.0, expected the head's alone", "from-insightface", "v2-3", "--like", "changed.h5", "-o", "no.h5")
    assert "; not taken: encoder.0\n" in convert(0, "to-insightface", "changed.h5", "--ranks", 2, "-o", "with-encoder")
    convert(2, "to-insightface", "v2.h5", "--ranks", 0, "-o", "no")
    convert(2, "from-insightface", "v2-3", "--like", "v2.h5", "-o", "v2.h5")
    convert(2, "to-insightface", "v2.h5", "--ranks", 2, "--style", "rank", "--like", "v2-3/checkpoint_gpu_0.pt", "-o", "no")
    assert not os.path.exists("no") and not os.path.exists("no.h5")
    said = train(1, 20, "other", "--resume=v2.h5", settings=SETTINGS.replace("margin=0.2", "margin=0.3"), status=3)
    assert "/fact/margin: found 0.2" in said, said


def main():
    folder, back = tempfile.mkdtemp(prefix="insightface.", dir="."), os.getcwd()
    os.chdir(folder)
    try:
        make_data()
        for test in (test_same_bits, test_same_file, test_train_v2, test_adamw, test_sampled_momentum, test_places, test_refused):
            test()
            print("ok", test.__name__)
    finally:
        os.chdir(back)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
