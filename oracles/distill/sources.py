"""Where the texts come from: one generator a source, each yielding plain sentences.

A source reads a folder of `INPUTS` (see README.md): Debian's lists in `debian-12` and `debian-13`, packages as
downloaded in `debs` and `wheels`, the crates of `Cargo.lock` in cargo's registry folder.
"""

import ast
import glob
import gzip
import html
import json
import lzma
import os
import re
import subprocess
import sysconfig
import zipfile
import zlib
from pathlib import Path

SPACE = re.compile(r"\s+")
SENTENCE = re.compile(r"(?<=[.!?;:])\s+(?=[A-Z`\"(])")


def flat(text):
    return SPACE.sub(" ", text).strip()


def sentences(text):
    """The sentences of running text that read like prose: 4 words or more, letters mostly."""
    for part in SENTENCE.split(flat(text)):
        letters = sum(c.isalpha() or c == " " for c in part)
        if 20 <= len(part) <= 240 and part.count(" ") >= 3 and letters >= 0.8 * len(part):
            yield part


def read(path):
    path = str(path)
    if path.endswith(".lz4"):
        import lz4.frame

        opener = lz4.frame.open
    else:
        opener = {"gz": gzip.open, "dz": gzip.open, "xz": lzma.open}.get(path.rsplit(".", 1)[-1], open)
    with opener(path, "rb") as f:
        return f.read().decode("utf8", "replace")


def unpacked(inputs, package):
    """The folder of a Debian package's files, unpacked once."""
    (deb,) = glob.glob(f"{inputs}/debs/{package}_*.deb")
    to = Path(inputs) / "unpacked" / package
    if not to.exists():
        to.mkdir(parents=True)
        subprocess.run(["dpkg", "-x", deb, str(to)], check=True)
    return to


def files(folder, *endings):
    found = [p for ending in endings for p in glob.glob(f"{glob.escape(str(folder))}/**/*{ending}", recursive=True)]
    return sorted(p for p in found if os.path.isfile(p))


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


def packages(folder):
    """(synopsis, description, section) of every package of a Debian release."""
    (lists,), (translation,) = (glob.glob(f"{folder}/{name}*") for name in ("Packages", "Translation-en"))
    long = {p["Description-md5"]: p["Description-en"] for p in paragraphs(read(translation)) if "Description-en" in p}
    for p in paragraphs(read(lists)):
        short, *rest = long.get(p.get("Description-md5"), p.get("Description", "")).split("\n")
        body = flat(" ".join(" " if line.strip() == "." else line for line in rest))
        yield short, body, p.get("Section", "unknown").split("/")[-1]


def docstrings(sources):
    """The first paragraphs of the docstrings in Python sources."""
    for source in sources:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                first = flat((ast.get_docstring(node) or "").split("\n\n")[0])
                if 25 < len(first) < 200:
                    yield first


def python_library():
    """Of the running Python's own library, tests left out."""
    paths = glob.glob(sysconfig.get_path("stdlib") + "/**/*.py", recursive=True)
    paths = [p for p in paths if "test" not in p and "site-packages" not in p]
    return docstrings(open(p, encoding="utf8", errors="replace").read() for p in sorted(paths))


def python_packages(inputs):
    for wheel in sorted(glob.glob(f"{inputs}/wheels/*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(n for n in archive.namelist() if n.endswith(".py") and "test" not in n)
            yield from docstrings(archive.read(n).decode("utf8", "replace") for n in names)


def service_models(inputs):
    """Sentences of the documentation in botocore's descriptions of web services."""
    (wheel,) = glob.glob(f"{inputs}/wheels/botocore-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(n for n in archive.namelist() if "/service-2.json" in n):
            raw = archive.read(name)
            todo = [json.loads(gzip.decompress(raw) if name.endswith(".gz") else raw)]
            while todo:
                value = todo.pop()
                if isinstance(value, list):
                    todo += value
                elif isinstance(value, dict):
                    todo += [v for k, v in sorted(value.items()) if k != "documentation"]
                    if isinstance(value.get("documentation"), str):
                        yield from sentences(markup(value["documentation"]))


def markup(text):
    text = re.sub(r"(?s)<(script|style|pre)\b.*?</\1>", " ", text)
    return html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"</?(p|li|h\d|td|div|dd|dt)\b[^>]*>", ". ", text)))


def pages(inputs, package, under=""):
    for path in files(unpacked(inputs, package), ".html"):
        if under in path:
            for block in re.split(r"(?i)</?(?:p|li|h\d|td|div|dd|dt|tr|ul)\b[^>]*>", re.sub(
                    r"(?s)<(script|style|pre)\b.*?</\1>", " ", read(path))):
                yield from sentences(html.unescape(re.sub(r"<[^>]+>", "", block)))


def roff(inputs, package):
    for path in files(unpacked(inputs, package) / "usr/share/man", ".gz"):
        block = []
        for line in read(path).split("\n") + [".SH"]:
            macro = re.match(r"\.([BIR]{1,2}|SM)\s+(.*)", line)
            if macro:
                parts = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', macro[2])]
                line = ("" if len(macro[1]) == 2 and macro[1] != "SM" else " ").join(parts)
            elif line.startswith((".", "'")):
                yield from sentences(" ".join(block))
                block = []
                continue
            line = re.sub(r"\\f(\[[^]]*\]|\(..|.)|\\&|\\[|^/,c]", "", line)
            block.append(line.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\"))


def pod(inputs, package):
    for path in files(unpacked(inputs, package), ".pod"):
        for block in read(path).split("\n\n"):
            if block[:1] not in ("=", " ", "\t", "\n", ""):
                for _ in range(3):
                    block = re.sub(r"[BICFLSX]<([^<>]*)>", lambda m: m[1].split("|")[0], block)
                yield from sentences(block.replace("E<gt>", ">").replace("E<lt>", "<"))


def comments(paths, mark):
    """Sentences of the documentation comments: blocks of lines that start with `mark`, code left out."""
    for path in paths:
        block, code = [], False
        for line in read(path).split("\n") + [""]:
            found = mark.match(line)
            if found:
                body = found[1]
                if body.strip().startswith("```"):
                    code = not code
                elif not code and not body.startswith(("     ", "\t", "#")):
                    block.append(body)
                    if body.strip():
                        continue
                else:
                    block.append("")
            if block and (not found or not block[-1].strip()):
                text = re.sub(r"\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])?", r"\1", " ".join(block))
                yield from sentences(text.replace("`", ""))
                block = []
            if not found:
                code = False


def crates(lock):
    """Of the crates of Cargo.lock, as `cargo fetch` unpacks them."""
    registry = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "registry/src"
    names = re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"\nsource', Path(lock).read_text())
    for name, version in sorted(names):
        for folder in sorted(glob.glob(f"{registry}/*/{name}-{version}")):
            yield from comments(files(folder, ".rs"), re.compile(r"^\s*//[/!]\s?(.*)$"))


def go(inputs):
    paths = [p for p in files(unpacked(inputs, "golang-1.19-src"), ".go") if "_test.go" not in p and "/cmd/" not in p]
    return comments(paths, re.compile(r"^//\s?(?!go:|\+build)(.*)$"))


def glosses(inputs):
    """(words and definition, definition alone, examples) of WordNet's synonym sets."""
    for path in files(unpacked(inputs, "wordnet-base"), "data.noun", "data.verb", "data.adj", "data.adv"):
        for line in read(path).split("\n"):
            if line[:1].isdigit():
                data, _, gloss = line.partition(" | ")
                fields = data.split(" ")
                count = int(fields[3], 16)
                words = [re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in fields[4 : 4 + 2 * count : 2]]
                examples = re.findall(r'"([^"]+)"', gloss)
                meaning = flat(re.split(r'; *"', gloss)[0])
                yield f"{', '.join(words[:3])}: {meaning}", meaning, examples


def jargon(inputs):
    (path,) = files(unpacked(inputs, "dict-jargon"), ".dict.dz")
    for block in read(path).split("\n\n"):
        yield from sentences(re.sub(r"[{}]", "", block))


def novels(inputs):
    """Jane Austen's novels out of an R data base: zlib blocks of serialised strings, one a line."""
    (path,) = files(unpacked(inputs, "r-cran-janeaustenr"), "Rdata.rdb")
    raw, at = Path(path).read_bytes(), 0
    while at + 4 < len(raw):
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(raw[at + 4 :])
        at = len(raw) - len(unpacker.unused_data)
        lines, block = [], []
        for found in re.finditer(rb"\x00\x04?\x00\x09(....)|\x00[\x00\x04][\x00\x40]\x09(....)", data, re.S):
            length = int.from_bytes(found[1] or found[2], "big")
            if length < 200:
                lines.append(data[found.end() : found.end() + length].decode("utf8", "replace"))
        for line in lines + [""]:
            if line.strip():
                block.append(line)
            elif block:
                yield from sentences(" ".join(block))
                block = []


def fortunes(inputs):
    """Only for a test: short quotations, a source that the fit never reads."""
    for path in files(unpacked(inputs, "fortunes") / "usr/share/games/fortunes", ""):
        if not path.endswith((".dat", ".u8")):
            for quote in re.split(r"\n%\n", read(path)):
                text = flat(quote.split("\n\t\t")[0])
                if 25 < len(text) < 200:
                    yield text
