#!/usr/bin/env python3
"""Step 3: fit the table so that weighted token means match the teacher's sentence embeddings.

    pip install numpy scipy
    python fit.py texts.jsonl WORK --evaluate   # held-out quality, nothing written
    python fit.py texts.jsonl WORK MODEL        # the files of crates/edge-embed/model

The table starts from the teacher's answer to every token alone (as Model2Vec does: Tulkens and van
Dongen, 2024), projected on the top 256 directions of its sentence embeddings. The correction is ridge
regression by conjugate gradients (Hestenes and Stiefel, 1952), 25 steps, lambda 0.3: tokens that the
texts do not show keep their start. Rows are then stored as i8 with one scale each.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.sparse as sp

DIM, LAMBDA, STEPS = 256, 0.3, 25
HELD_OUT_SHORT, HELD_OUT_DOC, SECTIONS = 3_000, 2_000, 30


class Data:
    def __init__(self, texts, work):
        rows = [json.loads(line) for line in open(texts, encoding="utf8")]
        self.kind = np.array([row["kind"] for row in rows])
        self.section = np.array([row["section"] for row in rows])
        packed = np.load(Path(work) / "texts.npz")
        assert len(rows) == len(packed["lengths"]), "texts.npz was made from other texts"
        self.teacher = packed["embeddings"]
        self.tokens = np.load(Path(work) / "tokens.npy")
        self.weight = np.log(2.0 + np.arange(len(self.tokens)))
        ends = np.concatenate([[0], np.cumsum(packed["lengths"])])
        self.starts, self.ids = ends, packed["ids"].astype("i8")
        self.nonempty = packed["lengths"] > 0

    def means(self, rows):
        """The sparse [rows, tokens] matrix whose product with a table is the weighted token mean."""
        parts = [self.ids[self.starts[i] : self.starts[i + 1]] for i in rows]
        row = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        col = np.concatenate(parts)
        shape = (len(parts), len(self.tokens))
        m = sp.csr_matrix((self.weight[col].astype("f4"), (row, col)), shape=shape)
        return sp.diags((1 / (np.asarray(m.sum(1)).ravel() + 1e-9)).astype("f4")) @ m

    def projection(self, rows):
        y = self.teacher[rows]
        values, vectors = np.linalg.eigh(y.T @ y / len(y))
        return vectors[:, np.argsort(-values)][:, :DIM].astype("f4")


def fit(data, rows, projection):
    m, target = data.means(rows), data.teacher[rows] @ projection
    bias = target.mean(0)
    start = ((data.tokens - data.tokens.mean(0)) @ projection).astype("f4")
    first = m @ start
    start *= float((first * (target - bias)).sum() / (first * first).sum())
    mt = m.T.tocsr()
    x, r = np.zeros_like(start), mt @ (target - bias - m @ start)
    p, rs = r.copy(), (r * r).sum(0)
    for _ in range(STEPS):
        ap = mt @ (m @ p) + LAMBDA * p
        step = rs / ((p * ap).sum(0) + 1e-12)
        x += step * p
        r -= step * ap
        new = (r * r).sum(0)
        p, rs = r + (new / (rs + 1e-12)) * p, new
    return start, start + x, bias.astype("f4")


def quantize(table):
    scale = np.maximum(np.abs(table).max(1, keepdims=True) / 127, 1e-12).astype("f4")
    return np.round(table / scale).astype("i1"), scale


def unit(x):
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9)


def nearest(base, queries, k):
    scores = queries @ base.T
    return np.argpartition(-scores, k, axis=1)[:, :k], scores


def overlap(base, queries, base_teacher, queries_teacher):
    ours, theirs = nearest(base, queries, 10)[0], nearest(base_teacher, queries_teacher, 10)[0]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ours, theirs)])


def evaluate(data):
    """Fits without the held-out rows; compares with the full teacher on them."""
    rng = np.random.RandomState(0)
    short = rng.permutation(np.where((data.kind == "short") & data.nonempty)[0])
    doc = rng.permutation(np.where((data.kind == "doc") & data.nonempty)[0])
    test, test_doc = short[: min(HELD_OUT_SHORT, len(short) // 5)], doc[: min(HELD_OUT_DOC, len(doc) // 2)]
    train = np.setdiff1d(np.where(data.nonempty)[0], np.concatenate([test, test_doc]))
    train_short = np.intersect1d(short, train)
    top = [s for s, _ in Counter(data.section[short]).most_common(SECTIONS)]
    labelled = lambda rows: rows[np.isin(data.section[rows], top)]
    base, queries = labelled(train_short)[:12_000], labelled(test)
    projection = data.projection(train)
    plain, table, bias = fit(data, train, projection)
    q, scale = quantize(table)

    def knn(a, b):
        near, scores = nearest(a, b, 15)
        right = 0
        for row in range(len(b)):
            votes = Counter()
            for j in near[row]:
                votes[data.section[base[j]]] += max(scores[row, j], 0) ** 4
            right += votes.most_common(1)[0][0] == data.section[queries[row]]
        return right / len(b)

    half = len(test_doc) // 5
    models = [("teacher", None, 0.0, data.teacher), ("table without fit", plain, 0.0, None)]
    models += [(f"fitted, i8, {d} of {DIM}", (q * scale)[:, :d], bias[:d], None) for d in (256, 192, 128, 64)]
    for name, t, b, given in models:
        e = (lambda rows: given[rows]) if t is None else (lambda rows: unit(data.means(rows) @ t + b))
        near = overlap(e(base[:10_000]), e(queries[:1000]), data.teacher[base[:10_000]], data.teacher[queries[:1000]])
        far = overlap(e(test_doc[half:]), e(test_doc[:half]), data.teacher[test_doc[half:]], data.teacher[test_doc[:half]])
        print(f"{name:24s} kNN15 {knn(e(base), e(queries)):.3f} overlap@10 {near:.3f} docstrings {far:.3f}", flush=True)


def write(data, out):
    rows = np.where(data.nonempty)[0]
    projection = data.projection(rows)
    _, table, bias = fit(data, rows, projection)
    weight = data.weight.astype("<f4")
    q, scale = quantize(table * weight[:, None])
    out.mkdir(exist_ok=True)
    q.tofile(out / f"table_i8_{len(q)}x{DIM}.bin")
    for name, values in [
        ("row_scale_f32", scale.ravel()), ("bias_f32", bias), ("weight_f32", weight),
        (f"teacher_projection_384x{DIM}_f32", projection),
    ]:
        values.astype("<f4").tofile(out / f"{name}.bin")
    print(len(rows), "texts,", len(np.unique(data.ids)), "tokens seen")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    loaded = Data(*sys.argv[1:3])
    if sys.argv[3] == "--evaluate":
        evaluate(loaded)
    else:
        write(loaded, Path(sys.argv[3]))
