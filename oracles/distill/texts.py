#!/usr/bin/env python3
"""Step 1: the texts, as JSON lines {"kind", "text", "section", "split"} on standard output.

    pip install lz4
    python texts.py INPUTS CARGO_LOCK > texts.jsonl     # README.md says how INPUTS is filled

`split` says what a row is for. `base` and `test` are Debian 12 synopses: the 12,000 that are searched and the 3,000
that are asked, none of which is fitted on; `valid` are 1,500 more, asked while the method is chosen. `docs` are docstrings
of Python's own library, `far` fortunes: tests out of domain. `fit` is the rest: without what a held-out text
equals, but for case, digits and punctuation, or shares 4 in 5 of its words with, and without the
descriptions of packages whose synopsis is that near.
"""

import json
import random
import re
import sys
from collections import Counter, defaultdict

import sources

SECTIONS, BASE, TEST, VALID = 30, 12_000, 3_000, 1_500
DOCS, FAR = 2_000, 2_000
LIMITS = dict(
    short=100_000, long=6_000, sentence=40_000, gloss=40_000, meaning=10_000, example=16_000, crates=46_000, go=16_000,
    manual=14_000, perl=7_000, sqlite=5_000, postgres=7_000, apache=3_000, service=8_000, jargon=4_000, novel=7_000,
    library=2_000, python=26_000,
)
# Longer sentences say little more for what they cost the teacher.
LONGEST = 120


def words(text):
    return frozenset(re.findall(r"[^\W\d_]+", text.lower()))


class HeldOut:
    """Finds what is nearly one of the held-out texts: Jaccard index of the words .8 or more.

    Two sets that near share one of the rarest fifth of their words and one more, so only those are looked up.
    """

    def __init__(self, texts):
        self.sets = [words(t) for t in texts]
        self.count = Counter(w for s in self.sets for w in s)
        self.by_word = defaultdict(list)
        for n, s in enumerate(self.sets):
            for w in self.rare(s):
                self.by_word[w].append(n)

    def rare(self, s):
        return sorted(s, key=lambda w: (self.count[w], w))[: len(s) // 5 + 1]

    def near(self, text):
        s = words(text)
        seen = {n for w in self.rare(s) for n in self.by_word.get(w, ())}
        return any(5 * len(s & self.sets[n]) >= 4 * len(s | self.sets[n]) for n in seen)


def unique(rows, key=lambda row: row):
    seen = set()
    for row in rows:
        if key(row) not in seen:
            seen.add(key(row))
            yield row


def drawn(rows, seed, count=None):
    rows = sorted(set(rows))
    random.Random(seed).shuffle(rows)
    return rows[:count]


def cut(synopsis, body):
    text = f"{synopsis}. {body}"
    return text[:170].rsplit(" ", 1)[0] if len(text) > 170 else text


def fit_texts(inputs, lock, releases, near):
    """(kind, text, section) that may be fitted on, before near duplicates of held-out texts are dropped."""
    rows = [r for release in releases for r in release]
    rows = drawn((r for r in rows if not near.near(r[0])), 1)
    yield from (("short", r[0], r[2]) for r in unique(rows, lambda r: r[0].lower()) if len(r[0]) >= 12)
    bodies = list(unique((r for r in rows if len(r[1]) >= 30), lambda r: re.sub(r"\W+", " ", r[1][:120]).lower()))
    yield from (("long", cut(*r[:2]), r[2]) for r in bodies)
    yield from (("sentence", t, "") for t in drawn((t for r in bodies for t in sources.sentences(r[1])), 2))
    glosses = drawn(((g, m, tuple(e)) for g, m, e in sources.glosses(inputs)), 3)
    yield from (("gloss", g, "") for g, _, _ in glosses[:-20_000])
    yield from (("meaning", m, "") for _, m, _ in glosses[-20_000:])
    yield from (("example", e, "") for _, _, all in glosses for e in all if e.count(" ") >= 3)
    manual = [t for p in ("manpages", "manpages-dev") for t in sources.roff(inputs, p)]
    for kind, texts in [
        ("crates", sources.crates(lock)), ("go", sources.go(inputs)), ("manual", manual),
        ("perl", sources.pod(inputs, "perl-doc")), ("sqlite", sources.pages(inputs, "sqlite3-doc")),
        ("postgres", sources.pages(inputs, "postgresql-doc-15")),
        ("apache", sources.pages(inputs, "apache2-doc", "/manual/en/")),
        ("service", sources.service_models(inputs)), ("jargon", sources.jargon(inputs)),
        ("novel", sources.novels(inputs)),
    ]:
        yield from ((kind, t, "") for t in drawn(texts, kind))


def main(inputs, lock):
    releases = [list(sources.packages(f"{inputs}/debian-{n}")) for n in (12, 13)]
    shorts = drawn(releases[0], 0)
    shorts = [r for r in unique(shorts, lambda r: r[0].lower()) if len(r[0]) >= 12]
    top = {s for s, _ in Counter(r[2] for r in shorts).most_common(SECTIONS)}
    held = [r for r in shorts if r[2] in top][: BASE + TEST + VALID]
    splits = ["base"] * BASE + ["test"] * TEST + ["valid"] * VALID
    library = drawn(sources.python_library(), 0, 2 * DOCS)
    far = drawn(sources.fortunes(inputs), 0, FAR)

    out = [("short", r[0], r[2], split) for r, split in zip(held, splits, strict=True)]
    out += [("library", t, "", "docs") for t in library[DOCS:]] + [("fortunes", t, "", "far") for t in far]
    held_out = len(out)
    near, count, seen, dropped = HeldOut([row[1] for row in out]), Counter(), set(), Counter()

    def rows():
        yield from fit_texts(inputs, lock, releases, near)
        yield from (("library", t, "") for t in library[:DOCS])
        yield from (("python", t, "") for t in drawn(sources.python_packages(inputs), "p"))

    for kind, text, section in rows():
        key = text.lower()
        if count[kind] == LIMITS[kind] or key in seen or len(text) < 12 or (len(text) > LONGEST and kind != "long"):
            continue
        seen.add(key)
        if near.near(text):
            dropped[kind] += 1
            continue
        count[kind] += 1
        out.append((kind, text, section, "fit"))
    # Held-out texts first; then any part of the file is an even sample.
    fit = out[held_out:]
    random.Random(5).shuffle(fit)
    out[held_out:] = fit
    for kind, text, section, split in out:
        print(json.dumps(dict(kind=kind, text=text, section=section, split=split)))
    print("fit on", dict(count), sum(count.values()), file=sys.stderr)
    print("near duplicates of held-out texts:", dict(dropped), file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
