#!/usr/bin/env python3
"""Checks the links of README.md, data/README.md and doc/*.md: that files and headings exist, and that a link to a line of source is still right.

    doc_links.py [--fix] [FILE.md...]

    [text](other.md)            a file of the tree, relative to the document
    [text](other.md#heading)    and a heading of it, spelled as the web pages of a repository do: lower case, - for blanks, other signs left out
    [`text`](../src/x.c#L12)    and its line 12 holds "text" (without the `; a run of blanks counts as one)

--fix looks for the text of a link that is not right, and writes the number of its line into the document: of the only line that holds it, or of the nearest one
with a note. Fenced blocks and code are not looked at, nor links to other sites.
"""
import argparse
import collections
import glob
import os
import re
import sys

TOP = os.path.abspath(os.environ.get("PFC_TOP_SRCDIR", os.path.join(os.path.dirname(__file__), os.pardir)))
# A link, in Markdown or in HTML, or code (which is left out), whichever comes first.
LINK = re.compile(r"\[((?:\\.|`[^`]*`|[^\[\]`])*)\]\(([^()\s]+)\)|<(?:a|img)\b[^>]*\b(?:href|src)=\"([^\"]+)\"|(`+)(?!`).*?(?<!`)\4(?!`)")

Link = collections.namedtuple("Link", "line start end text target")  # [start, end) of the target in its line


def prose(text):
    """The lines of a document; those of fenced blocks are empty."""
    fence, lines = None, []
    for line in text.split("\n"):
        mark = re.match(r" {0,3}(```+|~~~+)", line)
        if fence and mark and mark.group(1).startswith(fence):
            fence = None
            line = ""
        elif mark and not fence:
            fence = mark.group(1)
        lines.append("" if fence else line)
    return lines


def links(text):
    for number, line in enumerate(prose(text), 1):
        for found in LINK.finditer(line):
            if group := next((g for g in (2, 3) if found.group(g)), 0):
                yield Link(number, *found.span(group), plain(found.group(1) or ""), found.group(group))


def plain(text):
    return re.sub(r"\s+", " ", re.sub(r"`|\\(?=[\[\]_*|\\])", "", text)).strip()


def anchors(text):
    """The names of a document's headings, as web pages of repositories spell them."""
    names, seen = set(), collections.Counter()
    for line in prose(text):
        if heading := re.match(r" {0,3}#{1,6} +(.*?)[ #]*$", line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).replace("`", "")
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            names.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        names.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
    return names


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def line_fault(link, path, lines, number):
    """What is wrong with a link to a line, and the number it should have; None, None if it is right."""
    holds = [i for i, line in enumerate(lines, 1) if link.text in re.sub(r"\s+", " ", line)]
    if not link.text:
        return "a link to a line needs a text", None
    if number in holds:
        return None, None
    if not holds:
        return f"no line of {path} holds \"{link.text}\"", None
    nearest = min(holds, key=lambda i: abs(i - number))
    where = f"line {nearest} does" if len(holds) == 1 else f"lines {', '.join(map(str, holds[:8]))} do"
    return f"line {number} of {path} does not hold \"{link.text}\", {where}", nearest


def fault(document, text, link):
    """What is wrong with a link, and the target it should have (None: nobody knows)."""
    if re.match(r"[a-z][a-z+.-]*:", link.target):
        return None, None
    name, _, anchor = link.target.partition("#")
    path = os.path.normpath(os.path.join(os.path.dirname(document), name)) if name else document
    shown = os.path.relpath(path, TOP)
    if shown.startswith(os.pardir):
        return f"{link.target} is outside the tree", None
    if not os.path.exists(path):
        return f"no file {shown}", None
    if not anchor:
        return None, None
    if span := re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor):
        what, number = line_fault(link, shown, read(path).split("\n"), int(span.group(1)))
        if not number:
            return what, None
        last = f"-L{number + int(span.group(2)) - int(span.group(1))}" if span.group(2) else ""
        return what, f"{name}#L{number}{last}"
    if not name.endswith(".md") and name:
        return f"#{anchor}: only documents have headings", None
    return (None if anchor in anchors(read(path) if name else text) else f"no heading #{anchor} in {shown}"), None


def check(document, fix):
    """Prints what is wrong. Returns how many links there are and how many stay wrong."""
    text = read(document)
    lines, count, wrong = text.split("\n"), 0, 0
    for link in sorted(links(text), reverse=True):  # from the end: places before it stay where they are
        count += 1
        what, target = fault(document, text, link)
        if not what:
            continue
        print(f"{os.path.relpath(document, TOP)}:{link.line}: {what}{' (set to ' + target + ')' if fix and target else ''}")
        if fix and target:
            line = lines[link.line - 1]
            lines[link.line - 1] = line[:link.start] + target + line[link.end:]
        else:
            wrong += 1
    if fix and "\n".join(lines) != text:
        with open(document, "w", encoding="utf-8") as f:
            f.write("\n".join(lines))
    return count, wrong


def self_test():
    """The check can fail, and finds what it should."""
    text = "# A `b` c: d\n## A b c d\n[x y](#a-b-c-d-1) [`f(a[1])`](x.c#L2-L3) `[a](b)`\n```\n[no](no)\n```\n`[no](no)` [![p](q.svg)](r)\n<img alt=\"x\" src=\"s.svg\">\n"
    found = list(links(text))
    assert [(k.text, k.target) for k in found] == [("x y", "#a-b-c-d-1"), ("f(a[1])", "x.c#L2-L3"), ("p", "q.svg"), ("", "s.svg")], found
    assert anchors(text) == {"a-b-c-d", "a-b-c-d-1"}
    lines = ["int a;", "int   f(a[1]);", "int b;"]
    assert line_fault(found[1], "x.c", lines, 2) == (None, None)
    assert line_fault(found[1], "x.c", lines, 3)[1] == 2
    assert line_fault(found[1], "x.c", lines[:1], 1)[0] and line_fault(found[1], "x.c", lines[:1], 1)[1] is None
    here = os.path.join(TOP, "README.md")
    for target, right in (("LICENSE", True), ("LICENCE", False), ("#two", True), ("#three", False), ("../x", False), ("https://x", True)):
        assert (fault(here, "## Two\n", Link(1, 0, 0, "x", target))[0] is None) == right, target


def main():
    self_test()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--fix", action="store_true")
    parser.add_argument("documents", nargs="*")
    options = parser.parse_args()
    documents = [os.path.abspath(d) for d in options.documents] or [os.path.join(TOP, "README.md"), os.path.join(TOP, "data", "README.md"),
                                                                    *sorted(glob.glob(os.path.join(TOP, "doc", "*.md")))]
    counts = [check(document, options.fix) for document in documents]
    count, wrong = (sum(c) for c in zip(*counts))
    print(f"{count} links in {len(documents)} documents, {wrong} wrong")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
