#!/usr/bin/env python3
"""Golden files and rule tables of edge-embed's tokenizer, made by Hugging Face `tokenizers`.

    python3 -m venv VENV && VENV/bin/pip install tokenizers==0.23.3
    VENV/bin/python oracles/tokenizer.py rules      # src/tokenizer/rules.txt
    VENV/bin/python oracles/tokenizer.py golden     # tests/golden/tokenizer*.txt|jsonl
    VENV/bin/python oracles/tokenizer.py compare FILE...   # any text files, line by line
    VENV/bin/python oracles/tokenizer.py fuzz COUNT [SEED] # random strings, none kept unless it differs

The reference is BertNormalizer (clean text, CJK spacing, strip accents, lower case), BertPreTokenizer
and WordPiece with the vocabulary of crates/edge-embed/model, without special tokens: text is text,
so "[SEP]" in a text is three tokens (`encode_special_tokens` in tokenizers' words).

`rules` asks the reference what it does to each of the 1,112,064 scalar values and writes the answers
as ranges. They are pinned because two nodes whose compilers know different Unicode versions must
still give one text the same ids.
"""

import hashlib
import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

ROOT = Path(__file__).resolve().parent.parent
CRATE = ROOT / "crates/edge-embed"
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)


def normalizer():
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )


def reference():
    lines = (CRATE / "model/vocab.txt").read_text(encoding="utf8").split("\n")
    vocab = {token: i for i, token in enumerate(lines) if token}
    tok = Tokenizer(
        models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tok.normalizer = normalizer()
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tok


def ranges(points):
    out = []
    for c in points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def rules():
    norm, pre = normalizer(), pre_tokenizers.BertPreTokenizer()
    kinds = {"remove": [], "space": [], "pad": [], "punct": []}
    folds, hangul = {}, []
    punct = {c for c in SCALARS if len(pre.pre_tokenize_str(f"a{chr(c)}b")) == 3}
    for c in SCALARS:
        ch, s = chr(c), norm.normalize_str(chr(c))
        if s == "":
            kinds["remove"].append(c)
        elif s == " ":
            kinds["space"].append(c)
        else:
            if s[0] == " " and s[-1] == " ":
                kinds["pad"].append(c)
                s = s[1:-1]
            if c in HANGUL:
                i = c - 0xAC00
                jamo = chr(0x1100 + i // 588) + chr(0x1161 + i % 588 // 28)
                jamo += chr(0x11A7 + i % 28) if i % 28 else ""
                assert s == jamo, hex(c)
                hangul.append(c)
            elif s != ch:
                folds[c] = s
            elif c in punct:
                kinds["punct"].append(c)
    whole = set(kinds["remove"]) | set(kinds["space"]) | set(kinds["pad"]) | set(folds)
    for c, s in folds.items():
        # One pass is enough: what a fold gives is a word character or punctuation.
        assert all(ord(o) not in whole for o in s if c not in kinds["pad"]), hex(c)
    assert hangul == list(HANGUL)
    out = [
        "# What BERT uncased does to each scalar value; made by oracles/tokenizer.py rules",
        f"# with Hugging Face tokenizers {tokenizers.__version__}. Hangul syllables are"
        " decomposed by arithmetic.",
    ]
    for kind, points in kinds.items():
        out += [f"{kind} {a:x} {b:x}" for a, b in ranges(points)]
    out += [f"fold {c:x} " + " ".join(f"{ord(o):x}" for o in s) for c, s in folds.items()]
    (CRATE / "src/tokenizer/rules.txt").write_text("\n".join(out) + "\n")


def digest(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()[:16]


POOLS = [
    (6, [(0x20, 0x7E)]),
    (1, [(0x00, 0x1F), (0x7F, 0xA0)]),
    (3, [(0xA1, 0x24F), (0x1E00, 0x1EFF)]),
    (2, [(0x370, 0x52F), (0x1F00, 0x1FFF)]),
    (2, [(0x300, 0x36F), (0x483, 0x487), (0x591, 0x5C7), (0x64B, 0x65F), (0x20D0, 0x20F0)]),
    (1, [(0x5D0, 0x6FF), (0x900, 0xDFF)]),
    (2, [(0x2000, 0x206F), (0x20A0, 0x22FF), (0x3000, 0x303F), (0xFE00, 0xFE6F)]),
    (2, [(0x3041, 0x30FF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x3400, 0x4DBF)]),
    (1, [(0xAC00, 0xD7A3), (0x1100, 0x11FF)]),
    (1, [(0x1F300, 0x1FAFF), (0x2600, 0x27BF), (0x1F1E6, 0x1F1FF), (0xFE0F, 0xFE0F)]),
    (1, [(0x10000, 0x1FFFF), (0x20000, 0x2FFFF), (0xE0000, 0xE01FF)]),
    (1, [(0x0, 0xD7FF), (0xE000, 0x10FFFF)]),
]


def piece(rng, words):
    kind = rng.randrange(10)
    if kind < 4:
        word = rng.choice(words)
        return rng.choice([word, word.upper(), word.capitalize(), word + rng.choice(words)])
    if kind == 4:
        return rng.choice(words) + chr(rng.randrange(0x300, 0x370)) + rng.choice(words)
    if kind == 5 and rng.random() < 0.2:
        return rng.choice(words)[0] * rng.choice([98, 99, 100, 101, 102, 200])
    if kind == 5 and rng.random() < 0.3:
        return rng.choice(["[SEP]", "[UNK]", "##ing", "[unused1]", "\u00df\u0130\u01c5\ufb01", "\u2163\u33a5"])
    pool = rng.choices([p for _, p in POOLS], [w for w, _ in POOLS])[0]
    out = ""
    for _ in range(rng.randrange(1, 9)):
        a, b = rng.choice(pool)
        c = rng.randint(a, b)
        out += chr(c) if not 0xD800 <= c < 0xE000 else "\ud7ff"
    return out


def vocabulary_words():
    vocab = (CRATE / "model/vocab.txt").read_text(encoding="utf8").split("\n")
    return [t.removeprefix("##") for t in vocab if t and not t.startswith("[")]


def random_line(rng, words):
    seps = rng.choice([["", " "], [" "], [" ", "  ", "\t", "\u00a0", "\u3000", "\n"]])
    line = ""
    for _ in range(rng.randrange(1, 10)):
        line += piece(rng, words) + rng.choice(seps)
    return line


def fuzz_lines():
    rng, words = random.Random(20261121), vocabulary_words()
    yield from [
        "", " ", "\t\r\n", "\u200b\ufeff", "\u0301", "a" * 100, "a" * 101, "\u00e9" * 100,
        "e\u0301" * 101, "command line tool to compress files", "\u4f60\u597d\uff0cworld",
        "\ud55c\uad6d\uc5b4", "don't can't 3.14 e-mail@example.org", "\u1e9b\u0323 \u212b \u2126",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467", "na\u00efve caf\u00e9 \u0130stanbul",
        "\u037e\u1fef\u0387", "\U0002b81f\U0002b820\U0002b91f\U0002b920", "x" * 5000,
    ]
    for _ in range(3000):
        yield random_line(rng, words)


def fuzz(count, seed):
    """Strings of the golden corpus's kind; a line feed in one becomes a carriage return."""
    binary = ["cargo", "run", "-q", "--release", "-p", "edge-embed", "--example", "tokenize"]
    rng, words, tok = random.Random(seed), vocabulary_words(), reference()
    wrong = done = 0
    while done < count:
        lines = [random_line(rng, words).replace("\n", "\r") for _ in range(min(50_000, count - done))]
        run = subprocess.run(
            binary, input="\n".join(lines).encode(), capture_output=True, check=True, cwd=ROOT
        )
        ours = run.stdout.decode().split("\n")
        wants = tok.encode_batch_fast(lines, add_special_tokens=False)
        for line, got, want in zip(lines, ours, wants, strict=False):
            if " ".join(map(str, want.ids)) != got:
                wrong += 1
                print("differs:", repr(line)[:200], "\n  want", want.ids, "\n  got ", got)
        done += len(lines)
        print(f"{done} strings, {wrong} differ", flush=True)
    sys.exit(1 if wrong else 0)


def golden():
    tok, out = reference(), CRATE / "tests/golden"
    with open(out / "tokenizer_fuzz.jsonl", "w") as f:
        for n, line in enumerate(fuzz_lines()):
            ids = tok.encode(line, add_special_tokens=False).ids
            print(json.dumps([line, ids if n < 400 else digest(ids)]), file=f)
    with open(out / "tokenizer_scalars.txt", "w") as f:
        for block in range(0, 0x110000, 0x400):
            ids = []
            for c in range(block, block + 0x400):
                if not 0xD800 <= c < 0xE000:
                    ids += tok.encode(f"a{chr(c)}b {chr(c)}", add_special_tokens=False).ids
            print(f"{block:x} {digest(ids)}", file=f)


def compare(files):
    tok, wrong, total = reference(), 0, 0
    for name in files:
        lines = Path(name).read_text(encoding="utf8").split("\n")
        run = subprocess.run(
            ["cargo", "run", "-q", "--release", "-p", "edge-embed", "--example", "tokenize"],
            input="\n".join(lines), capture_output=True, encoding="utf8", check=True, cwd=ROOT,
        )
        ours = run.stdout.split("\n")
        for line, got in zip(lines, ours, strict=False):
            want = " ".join(map(str, tok.encode(line, add_special_tokens=False).ids))
            total += 1
            if want != got:
                wrong += 1
                print("differs:", repr(line)[:200], "\n  want", want, "\n  got ", got)
    print(f"{total} lines, {wrong} differ")
    sys.exit(1 if wrong or not total else 0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rules"]:
            rules()
        case ["golden"]:
            golden()
        case ["fuzz", count, *seed]:
            fuzz(int(count), int(seed[0]) if seed else 1)
        case ["compare", *files]:
            compare(files)
        case _:
            sys.exit(__doc__)
