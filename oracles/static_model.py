#!/usr/bin/env python3
"""Golden numbers of edge-embed's static model, computed by numpy and Hugging Face `tokenizers`.

    python3 -m venv VENV && VENV/bin/pip install tokenizers==0.23.3 numpy
    VENV/bin/python oracles/static_model.py            # recomputes from the committed texts
    VENV/bin/python oracles/static_model.py CORPUS.tsv # draws the texts anew: every 100th row

Writes model/test_vectors.json too: two texts, their ids, the first 8 numbers of the plain formula.

Two answers for each text: the plain formula in float64 (in millionths), and the SHA-256 of the
canonical float32 bits, every operation of canon-1 in its order with numpy's correctly rounded
float32 arithmetic. Shares no code with the crate.
"""

import hashlib
import json
import sys

import numpy as np

from tokenizer import CRATE, reference

OUT = CRATE / "tests/golden/static_model.json"
MODEL = CRATE / "model"
DIM, MAX_TOKENS = 256, 512


def load(name, dtype):
    return np.fromfile(MODEL / name, dtype=dtype)


TABLE = load("table_i8_30522x256.bin", "i1").reshape(-1, DIM)
SCALE = load("row_scale_f32.bin", "<f4")
WEIGHT = load("weight_f32.bin", "<f4")
BIAS = load("bias_f32.bin", "<f4")


def plain(ids):
    rows = TABLE[ids].astype("f8") * SCALE[ids].astype("f8")[:, None]
    weight = np.log(2.0 + np.array(ids)).sum()
    x = rows.sum(0) + BIAS.astype("f8") * weight
    return x / np.linalg.norm(x)


def sum16(x):
    acc = np.zeros(16, "f4")
    for i in range(0, len(x), 16):
        acc[: len(x[i : i + 16])] += x[i : i + 16]
    for s in (8, 4, 2, 1):
        acc[:s] += acc[s : 2 * s]
    return acc[0]


def canonical(ids):
    x, total = np.zeros(DIM, "f4"), np.float32(0)
    for t in ids:
        x = x + TABLE[t].astype("f4") * SCALE[t]
        total = np.float32(total + WEIGHT[t])
    x = x + BIAS * total
    return (x / np.sqrt(sum16(x * x))) + np.float32(0)


def test_vectors(tok):
    rows = []
    for text in ["command line tool to compress files", "library for parsing XML documents"]:
        ids = tok.encode(text, add_special_tokens=False).ids
        rows.append(dict(text=text, ids=ids, first8=[round(float(v), 6) for v in plain(ids)[:8]]))
    (MODEL / "test_vectors.json").write_text(json.dumps(rows, indent=1))


def texts(args):
    if not args:
        return [row["text"] for row in json.loads(OUT.read_text())["rows"]]
    lines = open(args[0], encoding="utf8").read().splitlines()[1:]
    return [line.split("\t")[2] for line in lines[::100]]


def main():
    tok, rows, whole = reference(), [], hashlib.sha256()
    test_vectors(tok)
    for text in texts(sys.argv[1:]):
        ids = tok.encode(text, add_special_tokens=False).ids[:MAX_TOKENS]
        exact, bits = plain(ids), canonical(ids)
        assert bits.dtype == np.float32 and np.abs(exact - bits).max() < 1e-6
        whole.update(bits.astype("<f4").tobytes())
        rows.append(dict(
            text=text,
            tokens=len(ids),
            sha256=hashlib.sha256(bits.astype("<f4").tobytes()).hexdigest()[:16],
            millionths=[int(v) for v in np.rint(exact * 1e6)],
        ))
    # Beyond the limit: 1,200 tokens in the text, 512 of them read.
    ids = tok.encode("unaffable " * 400, add_special_tokens=False).ids
    assert len(ids) == 1200
    cut = hashlib.sha256(canonical(ids[:MAX_TOKENS]).astype("<f4").tobytes()).hexdigest()[:16]
    head = json.dumps(dict(sha256=whole.hexdigest(), cut_sha256=cut))[:-1]
    body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    OUT.write_text(f'{head}, "rows": [\n{body}\n]}}\n')
    print(len(rows), "texts,", whole.hexdigest())


if __name__ == "__main__":
    main()
