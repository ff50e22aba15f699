"""The list of the suite in doc/goldens.md, made from the program's own.

    python3 tests/suite_table.py LIST.json DOC.md [--write]     LIST.json: pfc_ref list --json

Without --write: exit 1 if the document's table is another one. Looks also at the list itself: names, and which fills an algorithm has.
"""
import json
import re
import sys

FIRST = "| case | ranks | fill | seed | sizes; parameters | what it is for |\n| --- | --- | --- | --- | --- | --- |\n"


def table(suite):
    rows = []
    for s in suite:
        what = "; ".join(t.replace(",", ", ") for t in (s["sizes"], s["param"]) if t)
        ranks = "any" if s["world"] < 0 else s["world"]
        rows.append(f"| `{s['name']}` | {ranks} | {s['fill']} | {s['seed']} | {what} | {s['purpose']}{' (large)' if s['large'] else ''} |\n")
    return FIRST + "".join(rows)


def faults(listed):
    suite, bad = listed["suite"], []
    names = [s["name"] for s in suite]
    algorithms = [a["name"] for a in listed["algorithms"]]
    reserved = {c["name"] for c in listed["cases"]} | set(algorithms) | {"suite", "suite-large"}
    bad += [f"{n}: twice in the suite" for n in sorted(set(names)) if names.count(n) > 1]
    bad += [f"{n}: the name of a shipped case, an algorithm or a set" for n in names if n in reserved]
    bad += [f"{s['name']}: expected a name that ends with _w{s['world']}" for s in suite if s["world"] > 0 and not s["name"].endswith(f"_w{s['world']}")]
    bad += [f"{s['name']}: expected a name that says its fill, {s['fill']}" for s in suite if s["fill"] != "none" and s["fill"] not in s["name"]]
    bad += [f"{s['name']}: expected a name for any number of ranks" for s in suite if s["world"] < 0 and re.search(r"_w\d+$", s["name"])]
    bad += [f"{s['name']}: no such algorithm as {s['algorithm']}" for s in suite if s["algorithm"] not in algorithms]
    for a in algorithms:
        kinds = {s["fill"] for s in suite if s["algorithm"] == a and not s["large"]}
        want = {"none"} if a == "lr_schedule" else {"normal", "lattice", "hard"}  # a schedule has no inputs
        bad += [f"{a}: no small case with fill {kind}" for kind in sorted(want - kinds)]
        bad += [] if any(s["large"] for s in suite if s["algorithm"] == a) else [f"{a}: no large case"]
    return bad


def main():
    listed, path = json.load(open(sys.argv[1])), sys.argv[2]
    text = open(path, encoding="utf-8").read()
    want, found = table(listed["suite"]), re.search(re.escape(FIRST) + r"(\|.*\n)*", text)
    bad = faults(listed)
    if not found:
        bad.append(f"{path}: found no table that begins with {FIRST.splitlines()[0]}")
    elif "--write" in sys.argv:
        open(path, "w", encoding="utf-8").write(text[:found.start()] + want + text[found.end():])
    elif found.group() != want:
        lines = [line for line in set(want.splitlines()) ^ set(found.group().splitlines())]
        bad.append(f"{path}: the table is not that of pfc_ref list ({len(lines)} lines differ: {lines[:1]}); tests/suite_table.py --write makes it again")
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
