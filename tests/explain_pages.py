#!/usr/bin/env python3
"""Looks at what tests/driver_explain.sh had written: explain_pages.py TOP FOLDER ALGORITHM...
The folder has NAME.RANKS.{txt,html,svg,json} of each algorithm and lineN.{txt,json} of each line of tests/explain_exchanges.txt."""
import html.parser
import json
import os
import re
import sys
import xml.etree.ElementTree

VOID = {"meta", "br", "link", "img", "rect", "path"}
EQUATIONS = {"sinkhorn", "swav", "adaptive_margins"}  # whose files have equations where the others have titles
wrong = 0


def fail(text):
    global wrong
    wrong += 1
    print("FAIL", text)


def squeeze(text):
    return " ".join(text.split())


# ---- steps: the table of explain against the comment at the top of the algorithm's file ----

def header_steps(path, last_column=False):
    """(number, first cell) of the numbered lines of a file's first comment."""
    with open(path) as f:
        comment = f.read().split("*/", 1)[0]
    found = []
    for line in comment.split("\n"):
        line = re.sub(r"^ \*", "", line)
        here = re.findall(r"   (\d+)  (\S+(?: \S+)*)", line)[-1:] if last_column else re.findall(r"^   +(\d+'?) +(\S+(?: \S+)*)", line)
        found += [(number, re.sub(" -$", "", cell)) for number, cell in here]  # "-": nothing is moved
    return found


def told_steps(text):
    """number -> (title, all that stands below), of explain's text."""
    parts = re.split(r"^Step (hook \d+|\d+'?)  (.*)\n", text.split("\nWhat a rank sends and gets\n")[0], flags=re.M)
    return {parts[i]: (parts[i + 1], parts[i + 2]) for i in range(1, len(parts), 3)}


def check_steps(top, name, text, where):
    wanted = header_steps(f"{top}/src/algo/{name}.c", name == "group_gather")
    if name == "moco":
        wanted += [("hook " + n, cell) for n, cell in header_steps(f"{top}/src/algo/moco_hook.c")]
    told = told_steps(text)
    if len(wanted) < 2 or sorted(told) != sorted(n for n, _ in wanted):
        fail(f"{where}: steps {sorted(told)}, the file has {sorted(n for n, _ in wanted)}")
        return
    for number, cell in wanted:
        title, below = told[number]
        if squeeze(cell.split(":")[0]) == title:
            continue
        start = re.split(r" ;|,(?! 1\))", cell)[0]
        if name not in EQUATIONS or squeeze(start) not in squeeze(below):
            fail(f"{where}: step {number}: the file says '{cell}', explain '{title}'")


# ---- pages and pictures ----

class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for key, value in attrs:
            if key in ("src", "href") or (value and "http" in value and key != "xmlns"):
                raise ValueError(f"{tag} loads {value}")

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"</{tag}> without its beginning")


def check_page(path, text):
    page = Page()
    with open(path) as f:
        content = f.read()
    try:
        page.feed(content)
        page.close()
        if page.open or "script" in page.seen:
            raise ValueError(f"open at the end {page.open}, or a script")
    except ValueError as error:
        fail(f"{path}: {error}")
    steps = content.count("<h2><b>")
    if steps != len(told_steps(text)):
        fail(f"{path}: {steps} steps, the text has {len(told_steps(text))}")
    if text.count("    >> ") + 1 != page.seen.count("svg"):
        fail(f"{path}: {page.seen.count('svg')} pictures for all and {text.count('    >> ')} exchanges")


def check_picture(path, ranks):
    root = xml.etree.ElementTree.parse(path).getroot()
    words = ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("text")]
    width, height = (float(x) for x in root.get("viewBox").split()[2:])
    if [w for w in words if re.fullmatch(r"rank \d+", w)] != [f"rank {r}" for r in range(ranks)]:
        fail(f"{path}: not {ranks} ranks")
    if [w for w in words if w.endswith("*")]:
        fail(f"{path}: half an equation")
    for e in root.iter():
        x, y = (float(e.get(k, 0)) for k in "xy")
        if not (0 <= x and x + float(e.get("width", 0) if e is not root else 0) <= width and 0 <= y <= height):
            fail(f"{path}: {e.tag} at {x}, {y} is outside")


# ---- bytes: (step, operation) -> the larger side of each exchange of a rank, summed ----

def traffic(path):
    with open(path) as f:
        data = json.load(f)
    if not all(c["match"] for c in data["checks"]) or not data["checks"]:
        fail(f"{path}: results do not match")
    moved = {}
    for e in data["exchanges"]:
        for r in range(data["ranks"]):
            key = (e["step"], e["operation"].split()[-1])
            moved.setdefault(key, [0] * data["ranks"])[r] += max(e["bytes_in"][r], e["bytes_out"][r])
    return moved


def check_bytes(folder):
    P, N, D, K, C, M, U = 4, 4, 2, 3, 2, 3, 2
    wanted = {
        "partial_fc.4": {("1", "all-gather"): 8 * N, ("3", "all-gather"): 4 * N * D, ("6", "MAX"): 8 * N, ("6", "SUM"): 16 * N, ("7", "SUM"): 8 * N,
                         ("8", "MAX"): 8 * N, ("10", "SUM"): 32 * N * D + 16 * N},
        "partial_fc.fast": {("1", "all-gather"): 8 * N, ("3", "all-gather"): 4 * N * D, ("10", "SUM"): 8 * N * D + 8 * N},
        "arcface_head.4": {("1", "all-gather"): 8 * N + 4 * N * D, ("5", "MAX"): 8 * N, ("5", "SUM"): 16 * N, ("6", "SUM"): 32 * N, ("6", "MAX"): 8 * N,
                           ("7", "MAX"): 4 * N, ("9", "SUM"): 32 * N * D},
        "sinkhorn.4": {("1", "MAX"): 16, ("3", "SUM"): 16 * K, ("3", "MAX"): 4 * K, ("4", "SUM"): 3 * 16 * K, ("4", "MAX"): 3 * 4 * K},
        "swav.4": {("3", "MAX"): 2 * 16, ("10", "SUM"): 32 * K * D, ("10", "MAX"): 4 * K},
        "moco.4": {("8", "all-gather"): 8 * N * D},
        "moco_shuffle.4": {("1", "MAX"): 16},
        "group_gather.4": {("2", "MAX"): 2 * 4 * M, ("3", "SUM"): 2 * 16 * M},
        "batch_norm.4": {("2", "MAX"): 8 * U, ("3", "SUM"): 32 * U, ("7", "MAX"): 16 * C, ("8", "SUM"): 32 * U},
    }
    for name, figures in wanted.items():
        moved = traffic(f"{folder}/{name}.json")
        for key, figure in figures.items():
            if moved.get(key) != [figure] * P:
                fail(f"{name}: step {key[0]} {key[1]}: {moved.get(key)} bytes, the file's header has {figure}")
    rows = [e for e in json.load(open(f"{folder}/moco_shuffle.4.json"))["exchanges"] if e["operation"] == "exchange of rows"]
    for e in rows: # what is sent is received; no rank sends more than all its rows
        if sum(e["bytes_in"]) != sum(e["bytes_out"]) or max(e["bytes_in"]) > 2 * 8 or not sum(e["bytes_in"]):
            fail(f"moco_shuffle: {e}")
    if len(rows) != 2:
        fail("moco_shuffle: not two exchanges of rows")


# ---- exchanges: what the settings ask for, what was seen and what the text says ----

OPERATIONS = {"all-gather": "gather", "all-reduce MAX": "max", "all-reduce SUM": "sum", "reduce-scatter SUM": "scatter", "exchange of rows": "rows"}
# Words by which a step says that it needs other ranks.
OTHERS = re.compile(r"(over|of|on) all ranks|other ranks|over ranks|(of|over) the group|rank after rank")


def wanted_exchanges(words):
    counts = {}
    for word in words:
        name, _, times = word.partition("*")
        step, operation = name.split(":")
        counts[("hook " + step[1:] if step[0] == "h" else step, operation)] = int(times or 1)
    return counts


def seen_exchanges(path):
    counts = {}
    with open(path) as f:
        for e in json.load(f)["exchanges"]:
            key = (e["step"], OPERATIONS[e["operation"]])
            if key[0]:
                counts[key] = counts.get(key, 0) + 1
    return counts


def told_exchanges(text):
    """Those that the steps of a text tell of: ">> all-reduce MAX (3 times), training step 2: e, exponents"."""
    counts = {}
    for step, (_, below) in told_steps(text).items():
        for operation, times in re.findall(r"^    >> ([a-z]+[a-z -]*(?: MAX| SUM)?)(?: \((twice|\d+ times)\))?[,:]", below, flags=re.M):
            key = (step, OPERATIONS[operation])
            counts[key] = counts.get(key, 0) + (1 if not times else 2 if times == "twice" else int(times.split()[0]))
    return counts


def check_prose(text, where):
    """On more than one rank a step that speaks of others exchanges something with them, and the other way round."""
    for number, (_, below) in told_steps(text).items():
        prose = squeeze(re.split(r"^    (?:>> |\w+ \()", below, flags=re.M)[0])
        if "Not taken with these settings" not in below and bool(OTHERS.search(prose)) != (">> " in below):
            fail(f"{where}: step {number}: {'an' if '>> ' in below else 'no'} exchange, but it says: {prose}")


def check_settings(top, folder):
    with open(f"{top}/tests/explain_exchanges.txt") as f:
        lines = [line.rstrip("\n") for line in f if not line.startswith("#")]
    for i, line in enumerate(lines):
        case, _, exchanges = line.partition(":")
        wanted = wanted_exchanges(exchanges.split())
        with open(f"{folder}/line{i}.txt") as f:
            text = f.read()
        seen, told = seen_exchanges(f"{folder}/line{i}.json"), told_exchanges(text)
        if not wanted == seen == told:
            fail(f"{case}: expected {wanted}, seen {seen}, told {told}")
        if int(case.split()[2]) > 1:
            check_prose(text, case)
        if "steps=2" in case and not 0 < text.count(", training step 1:") == text.count(", training step 2:"):
            fail(f"{case}: exchanges of two training steps")
        if any(len(row) > 80 for row in text.split("\n")):
            fail(f"{case}: a line longer than 80 columns")


# ---- numbers: the same on 1 and 4 ranks ----

def panels(text, tensor):
    return re.findall(rf"^    {tensor} \([^)]*\).*\n((?:        .*\n)*)", text, flags=re.M)


def check_iterations(folder):
    """What a run of three iterations shows after one and two of them is what a run of two shows after one and at its end."""
    three, two = (panels(open(f"{folder}/{name}.txt").read(), "assignment") for name in ("sinkhorn.2", "sinkhorn_two"))
    if len(three) != 3 or len(two) != 2 or three[:2] != two or three[1] == three[2]:
        fail(f"sinkhorn: after fewer iterations {three}, a shorter run {two}")


def numbers(text, tensor):
    """The numbers of a tensor's panel, sorted: the layout is another one."""
    panel = re.search(rf"^    {tensor} \([^)]*\).*\n((?:        .*\n|    \w.*(?<!:)\n(?=        ))*)", text, flags=re.M)
    return sorted(w for w in panel.group(1).replace("|", " ").split() if re.fullmatch(r"-?[\d.]+(e-?\d+)?", w) and w != ".") if panel else None


def check_numbers(folder):
    wanted = {"partial_fc_global": ["cosine", "logits", "dlogits", "weight_grad", "weight", "x_grad", "loss"],
              "arcface_head": ["cosine", "prob", "weight_grad", "x_grad", "loss"], "sinkhorn": ["scores", "assignment"], "moco": ["params_k", "query", "queue"]}
    for name, tensors in wanted.items():
        one, four = (open(f"{folder}/{name}.{n}.txt").read() for n in (1, 4))
        for tensor in tensors:
            a, b = ([w for w in numbers(t, tensor) or [] if "." in w] for t in (one, four))
            if not a or a != b:
                fail(f"{name}: {tensor} on 1 rank {a}, on 4 {b}")


def main():
    top, folder, algorithms = sys.argv[1], sys.argv[2], sys.argv[3:]
    for name in algorithms:
        for ranks in range(1, 5):
            base = os.path.join(folder, f"{name}.{ranks}")
            with open(base + ".txt") as f:
                text = f.read()
            check_steps(top, name, text, f"{name} on {ranks}")
            check_page(base + ".html", text)
            check_picture(base + ".svg", ranks)
    check_bytes(folder)
    check_settings(top, folder)
    check_iterations(folder)
    check_numbers(folder)
    return 1 if wrong else 0


sys.exit(main())
