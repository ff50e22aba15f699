#!/usr/bin/env bash
# examples/torch_port.py is right, also on a golden made here, and hears of a margin that is 2 % off; skipped without PyTorch.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
need_python "h5py, numpy, torch"
port=$PFC_TOP_SRCDIR/examples/torch_port.py

expect 0 alone golden partial_fc --size N=24,C=50,D=32 --name arc --steps --param head=arc,scale=16,margin=0.5,lr=0.1,weight_decay=0.01,xgrad_scale=1 -o "$work"
expect 0 alone golden partial_fc --size N=24,C=50,D=32 --name cos --param head=cos,scale=16,margin=0.5 -o "$work"
"$python" "$port" "$PFC_TOP_SRCDIR/data/pfc_full_arc.h5" "$work/arc.h5" >"$work/out" 2>&1 || fail "torch_port.py: $(cat "$work/out")"
[ "$(grep -c 'is right as f32' "$work/out")" = 2 ] || fail "torch_port.py: $(cat "$work/out")"
PYTHONPATH=$PFC_TOP_SRCDIR/examples "$python" - "$work" >"$work/out" 2>&1 <<'END' || fail "torch_port.py with bugs: $(cat "$work/out")"
import sys
import torch_port
from pfc_golden import assert_golden, load
path = sys.argv[1] + "/arc.h5"
golden = load(path)
torch_port.test_arc_head()
def finds(text, call, kind=AssertionError):
    try:
        call()
    except kind as e:
        assert text in str(e), e
        return
    raise RuntimeError("nothing raised")
off = torch_port.arc_head({**golden.param, "margin": 0.49}, golden.inputs)
finds("first divergence in data-flow order: /step/logits;", lambda: assert_golden(path, *off))
late = torch_port.arc_head({**golden.param, "momentum": 0.5}, golden.inputs)
finds("all 6 given steps are right", lambda: assert_golden(path, *late))
finds("parameter head: found cos, this port is for arc", lambda: torch_port.check(sys.argv[1] + "/cos.h5"), ValueError)
END
finish
