#!/usr/bin/env python3
"""Runs the examples of the documents that say so, and compares what they print with what stands there.

    doc_blocks.py [FILE.md...]      default: README.md and every doc/*.md with the line <!-- run by tests/doc_blocks.py -->

Fenced blocks, in order, in a fresh folder with pfc_ref, mpirun and python3 in PATH, tools/ in PATH and PYTHONPATH, and
the shipped goldens in PFC_DATA:

    ```sh       run by bash; it must succeed ("; echo $?" shows a status that is not 0)
    ```text     what the sh block before it prints, stdout and stderr, from the first line to the last. "..." alone on a line is any number of lines, inside a
                line anything, with the blanks around it; blanks count as one
    ```python   with a first line "# NAME": written to the file NAME
    ```diff     with a first line "--- NAME": its lines with " " and "-" stand in the file once, and become those with " " and "+"

Other blocks are not looked at. <!-- if: COMMAND --> on the line before a sh or text block: only where the command succeeds.
"""
import collections
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

MARK = "<!-- run by tests/doc_blocks.py -->"
TOP = os.path.abspath(os.environ.get("PFC_TOP_SRCDIR", os.path.join(os.path.dirname(__file__), os.pardir)))
TIMEOUT = 120

Block = collections.namedtuple("Block", "line kind text condition")


class Wrong(Exception):
    pass


def blocks(text):
    """The fenced blocks of a document."""
    found, start, lines = [], None, text.split("\n")
    for number, line in enumerate(lines):
        if start is None and (fence := re.fullmatch(r"```(\w+)", line)):
            start, kind = number, fence.group(1)
        elif start is not None and line == "```":
            condition = re.fullmatch(r"<!-- if: (.*) -->", lines[start - 1])
            found.append(Block(start + 1, kind, "\n".join(lines[start + 1:number]) + "\n", condition and condition.group(1)))
            start = None
    if start is not None:
        raise Wrong(f"line {start + 1}: the block has no end")
    return found


def programs(folder):
    """A folder for PATH: pfc_ref of this build, Python with h5py, the launcher with its flags."""
    launcher = shlex.split(os.environ.get("MPIRUN", "mpirun") + " " + os.environ.get("MPIRUN_FLAGS", "-q"))
    launcher[0] = shutil.which(launcher[0]) or launcher[0]  # not this folder's
    os.mkdir(folder)
    for name, words in (("pfc_ref", [os.path.abspath(os.environ.get("PFC_REF", "pfc_ref"))]), ("python3", [sys.executable]), ("mpirun", launcher)):
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(f"#!/bin/sh\nexec {shlex.join(words)} \"$@\"\n")
        os.chmod(path, 0o755)
    return folder


def shell(text, folder, environment):
    done = subprocess.run(["bash", "-e", "-c", text], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=TIMEOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def pattern(text):
    """A text block as a regular expression for the whole output; blanks are one blank."""
    lines = []
    for line in text.rstrip("\n").split("\n"):
        if line.strip() == "...":
            lines.append("(?:.*\n)*?")
        else:
            lines.append(".*?".join(re.escape(part) for part in re.split(r" ?\.\.\. ?", one_blank(line))) + "\n")
    return "".join(lines)


def one_blank(text):
    return re.sub(r"[ \t]+", " ", text).strip()


def compare(shown, printed):
    printed = "".join(one_blank(line) + "\n" for line in printed.rstrip("\n").split("\n"))
    if re.fullmatch(pattern(shown), printed):
        return
    rest = shown.rstrip("\n").split("\n")
    while rest and not re.match(pattern("\n".join(rest)), printed):  # the longest beginning that fits tells where it stops
        last = rest.pop()
    where = f"no line for: {last}" if len(rest) < len(shown.rstrip().split("\n")) else "more lines than shown"
    raise Wrong(f"{where}\n--- printed:\n{printed}---")


def named(block, mark):
    first, _, rest = block.text.partition("\n")
    if not re.fullmatch(re.escape(mark) + r" [\w.-]+", first):
        raise Wrong(f"found \"{first}\", expected \"{mark} NAME\"")
    return first[len(mark) + 1:], rest


def patch(block, folder):
    name, rest = named(block, "---")
    old, new = ("".join(line[1:] + "\n" for line in rest.rstrip("\n").split("\n") if line[:1] in kept) for kept in (" -", " +"))
    with open(os.path.join(folder, name)) as f:
        text = f.read()
    if text.count(old) != 1:
        raise Wrong(f"these lines stand in {name} {text.count(old)} times, expected once:\n{old}")
    with open(os.path.join(folder, name), "w") as f:
        f.write(text.replace(old, new))


def run_document(path, folder, environment):
    """Runs every block; returns how many ran and how many were left out."""
    printed, ran, left_out = None, 0, 0
    with open(path) as f:
        found = blocks(f.read())
    for block in found:
        try:
            if block.condition and shell(block.condition, folder, environment)[0]:
                print(f"{path}:{block.line}: left out, not here: {block.condition}")
                left_out, printed = left_out + 1, None
            elif block.kind == "sh":
                status, printed = shell(block.text, folder, environment)
                if status:
                    raise Wrong(f"status {status}\n{printed}")
            elif block.kind == "text" and printed is not None:
                compare(block.text, printed)
                printed = None
            elif block.kind == "python":
                with open(os.path.join(folder, named(block, "#")[0]), "w") as f:
                    f.write(block.text)
            elif block.kind == "diff":
                patch(block, folder)
            else:
                continue
            ran += 1
        except (Wrong, subprocess.TimeoutExpired) as e:
            raise Wrong(f"{path}:{block.line}: {block.kind}: {e}") from e
    return ran, left_out


def documents():
    for path in [os.path.join(TOP, "README.md"), *sorted(glob.glob(os.path.join(TOP, "doc", "*.md")))]:
        with open(path) as f:
            if MARK in f.read().split("\n"):
                yield path


def run_all(paths):
    work = tempfile.mkdtemp(prefix="doc_blocks.", dir=os.getcwd())
    tools, ran = os.path.join(TOP, "tools"), 0
    try:
        path = os.pathsep.join([programs(os.path.join(work, "bin")), tools, os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": tools, "PYTHONDONTWRITEBYTECODE": "1", "PFC_DATA": os.path.join(TOP, "data")}
        for document in paths:
            folder = os.path.join(work, os.path.basename(document))
            os.mkdir(folder)
            count, left_out = run_document(document, folder, environment)
            print(f"{document}: {count} blocks as they stand there, {left_out} left out")
            ran += count
    finally:
        shutil.rmtree(work)
    return ran


def self_test():
    """The comparison can fail."""
    for shown, printed, right in (("a\n", "a\n", True), ("a\n", "b\n", False), ("a\n", "a\nb\n", False), ("a\n...\n", "a\nb\nc\n", True), ("...\nc\n", "a\nb\nc\n", True),
                                  ("...\nb\n", "a\nb\nc\n", False), ("a\n...\nb\n", "a\nb\n", True), ("x ... z\n", "x  y   z\n", True), ("x ... z\n", "x y\nz\n", False), ("x ... z\n", "x z\n", True),
                                  ("1.5\n", "1x5\n", False), ("a\nb\n", "a\n", False), ("a\n", "", False)):
        try:
            compare(shown, printed)
            matches = True
        except Wrong:
            matches = False
        assert matches == right, (shown, printed)


def main():
    self_test()
    try:
        return 0 if run_all(sys.argv[1:] or documents()) else 1
    except Wrong as e:
        print(f"FAIL {e}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
