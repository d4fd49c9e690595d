#!/usr/bin/env python3
"""Step 1: the texts to fit on, as JSON lines {"kind", "text", "section"} on standard output.

    python texts.py PACKAGES [TRANSLATION_EN] > texts.jsonl

PACKAGES and TRANSLATION_EN are Debian's `Packages` and `Translation-en` lists of one release (plain,
.gz, .xz or, with the `lz4` module, .lz4); without the second there are no long texts. Three kinds, as the shipped table was fitted on:
`short` (one-line synopses, at most 52,000), `long` (synopsis and description cut at 170 characters, at
most 10,000) and `doc` (first sentences of the running Python's own docstrings, at most 4,000).
"""

import ast
import glob
import gzip
import json
import lzma
import random
import re
import sys
import sysconfig

SHORT, LONG, DOC = 52_000, 10_000, 4_000


def read(path):
    if path.endswith(".lz4"):
        import lz4.frame

        opener = lz4.frame.open
    else:
        opener = {"gz": gzip.open, "xz": lzma.open}.get(path.rsplit(".", 1)[-1], open)
    with opener(path, "rb") as f:
        return f.read().decode("utf8")


def paragraphs(text):
    for part in text.split("\n\n"):
        fields, key = {}, None
        for line in part.split("\n"):
            if line.startswith((" ", "\t")) and key:
                fields[key] += "\n" + line[1:]
            elif ":" in line:
                key, value = line.split(":", 1)
                fields[key] = value.strip()
        if fields:
            yield fields


def packages(list_path, translation_path=None):
    translations = paragraphs(read(translation_path)) if translation_path else []
    long = {p["Description-md5"]: p["Description-en"] for p in translations if "Description-en" in p}
    for p in paragraphs(read(list_path)):
        text = long.get(p.get("Description-md5"), p.get("Description", ""))
        short, *rest = text.split("\n")
        body = " ".join(" " if line.strip() == "." else line for line in rest)
        body = re.sub(r"\s+", " ", body).strip()
        yield short, body, p.get("Section", "unknown").split("/")[-1]


def docstrings():
    found = set()
    for path in glob.glob(sysconfig.get_path("stdlib") + "/**/*.py", recursive=True):
        if "test" in path or "site-packages" in path:
            continue
        try:
            tree = ast.parse(open(path, encoding="utf8").read())
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                first = (ast.get_docstring(node) or "").split("\n\n")[0]
                first = re.sub(r"\s+", " ", first).strip()
                if 25 < len(first) < 200:
                    found.add(first)
    return sorted(found)


def unique(rows, key):
    seen = set()
    for row in rows:
        if key(row) not in seen:
            seen.add(key(row))
            yield row


def main():
    rows = list(packages(*sys.argv[1:]))
    random.Random(1).shuffle(rows)
    short = [r for r in unique(rows, lambda r: r[0].lower()) if len(r[0]) >= 12]
    long = [r for r in unique(rows, lambda r: re.sub(r"\W+", " ", r[1][:120]).lower()) if len(r[1]) >= 30]
    docs = docstrings()
    random.Random(0).shuffle(docs)

    def put(kind, text, section):
        print(json.dumps(dict(kind=kind, text=text, section=section)))

    for synopsis, _, section in short[:SHORT]:
        put("short", synopsis, section)
    for synopsis, body, section in long[:LONG]:
        text = f"{synopsis}. {body}"
        put("long", text[:170].rsplit(" ", 1)[0] if len(text) > 170 else text, section)
    for text in docs[:DOC]:
        put("doc", text, "python")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main()
