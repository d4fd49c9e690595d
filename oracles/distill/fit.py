#!/usr/bin/env python3
"""Step 3: fit the table so that sums of its rows point where the teacher's sentence embeddings do.

    pip install numpy scipy
    python fit.py texts.jsonl WORK MODEL                  # the binary files of crates/edge-embed/model
    python fit.py texts.jsonl WORK OTHER --without-python # a fit that saw no Python docstring
    python fit.py texts.jsonl WORK --evaluate MODEL...    # the held-out table, of any such folders

The sum of a text's rows is normalised, so a row may be any vector. It is found in four steps:

1. Least squares by conjugate gradients (Hestenes and Stiefel, 1952) towards the teacher's embeddings on its top
   256 directions, started from its answer to every token alone (as Model2Vec: Tulkens and van Dongen, 2024) and done
   again with each text divided by its own length, so that cosine is what is fitted.
2. A linear map from what the teacher knows of a token (its answer to it alone, its input embedding) to the row found:
   the start of every row, of the tokens that no text shows too.
3. Adam (Kingma and Ba, arXiv 1412.6980) on the cosine with the teacher and on the cross entropy between its
   similarities within a batch and ours (as Hinton et al., arXiv 1503.02531, distil classes), also of the first 128
   and 64 columns (after Kusupati et al., arXiv 2205.13147). Texts drawn at random are far from each other, so
   batches are made of groups of neighbours.
4. Rows are multiplied by a small power of how many Debian texts hold the token: said of packages, common words tell
   the kind of a package.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.sparse as sp

DIM, CUTS = 256, (256, 192, 128, 64)
START_TEXTS, START_ROUNDS, START_STEPS, LAMBDA = 100_000, 3, 8, 1.0
EPOCHS, BATCH, LEAF, RATE, SHARPNESS = 4, 512, 32, 0.05, 20.0
FREQUENCY_POWER = 0.07
DEBIAN, PYTHON = ("short", "long", "sentence"), ("library", "python")


class Data:
    def __init__(self, texts, work):
        rows = [json.loads(line) for line in open(texts, encoding="utf8")]
        self.kind, self.section, self.split = (np.array([r[k] for r in rows]) for k in ("kind", "section", "split"))
        packed = np.load(Path(work) / "texts.npz")
        assert len(rows) == len(packed["lengths"]), "texts.npz was made from other texts"
        self.teacher, self.ids = packed["embeddings"], packed["ids"].astype("i4")
        self.tokens, self.inputs = np.load(Path(work) / "tokens.npy"), np.load(Path(work) / "inputs.npy")
        self.starts = np.concatenate([[0], np.cumsum(packed["lengths"])])
        self.weight = np.log(2.0 + np.arange(len(self.tokens)))

    def rows(self, split):
        return np.where((self.split == split) & (np.diff(self.starts) > 0))[0]

    def counts(self, rows):
        """The sparse [rows, tokens] matrix whose product with a table sums the rows of a text's tokens."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        at = np.repeat(self.starts[rows] - ends[:-1], lengths) + np.arange(ends[-1])
        return sp.csr_matrix((np.ones(len(at), "f4"), self.ids[at], ends), shape=(len(rows), len(self.tokens)))


def unit(x):
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9)


def principal(y):
    values, vectors = np.linalg.eigh((y.T @ y).astype("f8") / len(y))
    return vectors[:, np.argsort(-values)][:, :DIM].astype("f4")


def least_squares(m, target, start):
    """Ridge regression towards `start`."""
    mt = m.T.tocsr()
    x, r = np.zeros_like(start), mt @ (target - m @ start)
    p, rs = r.copy(), (r * r).sum(0)
    for _ in range(START_STEPS):
        ap = mt @ (m @ p) + LAMBDA * p
        step = rs / ((p * ap).sum(0) + 1e-20)
        x += step * p
        r -= step * ap
        new = (r * r).sum(0)
        p, rs = r + (new / (rs + 1e-20)) * p, new
    return start + x


def first_table(data, rows, projection):
    """Steps 1 and 2."""
    counts, target = data.counts(rows), data.teacher[rows] @ projection
    seen = np.asarray((counts > 0).sum(0)).ravel()
    trust = np.minimum(seen, 50.0) * (seen >= 5)
    known = np.concatenate([data.tokens, data.inputs * (data.tokens.std() / data.inputs.std())], 1).astype("f8")
    known = np.concatenate([known, np.ones((len(known), 1))], 1)
    normal = known.T @ (known * trust[:, None])
    normal += np.eye(len(normal)) * 0.01 * np.trace(normal) / len(normal)
    mapped = lambda t: (known @ np.linalg.solve(normal, known.T @ (t * trust[:, None]))).astype("f4")

    weighted = (counts @ sp.diags(data.weight.astype("f4"))).tocsr()
    sums = np.asarray(weighted.sum(1)).ravel()
    table = ((data.tokens - data.tokens.mean(0)) @ projection).astype("f4") + target.mean(0)
    length = sums
    for n in range(START_ROUNDS):
        m = (sp.diags((1 / length).astype("f4")) @ weighted).tocsr()
        ours = m @ table
        table *= float((ours * target).sum() / (ours * ours).sum())
        table = least_squares(m, target, mapped(table) if n else table)
        length = np.linalg.norm(weighted @ table, axis=1)
        length *= sums.mean() / length.mean()
    return mapped(table) * data.weight[:, None].astype("f4")


def leaves(y, rng):
    """Groups of about LEAF neighbours: halves by the direction between two drawn rows, over and over."""
    groups, done = [np.arange(len(y))], []
    while groups:
        g = groups.pop()
        if len(g) <= LEAF:
            done.append(g)
            continue
        a, b = y[g[rng.integers(len(g))]], y[g[rng.integers(len(g))]]
        half = (len(g) // 2 + LEAF - 1) // LEAF * LEAF if len(g) > 2 * LEAF else LEAF
        order = np.argpartition(y[g] @ (a - b), min(half, len(g) - 1))
        groups += [g[order[:half]], g[order[half:]]]
    return done


def softmax(s):
    np.fill_diagonal(s, -1e4)
    s = np.exp(s - s.max(1, keepdims=True))
    return s / s.sum(1, keepdims=True)


def slope(ours, target, sentences, columns):
    """The slope by `ours`, unit rows, of step 3's loss."""
    given = -target / BATCH
    e = ours[:, :columns]
    length = np.linalg.norm(e, axis=1, keepdims=True) + 1e-6
    e = e / length
    wrong = (softmax(e @ e.T * SHARPNESS) - softmax(sentences @ sentences.T * SHARPNESS)) / BATCH
    g = (wrong + wrong.T) @ e
    given[:, :columns] += (g - e * (e * g).sum(1, keepdims=True)) / length
    return given


def train(data, rows, projection, table, seed=0):
    """Step 3."""
    rng = np.random.default_rng(seed)
    counts, sentences = data.counts(rows), data.teacher[rows]
    targets = unit(sentences @ projection)
    unit_size = np.sqrt((table**2).mean())
    table = (table / unit_size).astype("f4")
    mean, square, floor = np.zeros_like(table), np.zeros(len(table), "f4"), 1e9
    steps, step, cosine = EPOCHS * (len(rows) // BATCH), 0, 0.0
    while step < steps:
        groups = leaves(sentences, rng)
        rng.shuffle(groups)
        order = np.concatenate(groups)
        for at in range(0, len(order) - BATCH + 1, BATCH):
            if step == steps:
                break
            chosen = order[at : at + BATCH]
            c = counts[chosen]
            used, where = np.unique(c.indices, return_inverse=True)
            c = sp.csr_matrix((c.data, where.reshape(-1), c.indptr), shape=(BATCH, len(used)))
            x = c @ table[used]
            length = np.linalg.norm(x, axis=1, keepdims=True) + 1e-6
            e = x / length
            g = slope(e, targets[chosen], sentences[chosen], int(rng.choice([256, 128, 64], p=[0.6, 0.25, 0.15])))
            g = c.T @ ((g - e * (g * e).sum(1, keepdims=True)) / length)
            mean[used] = 0.9 * mean[used] + 0.1 * g
            square[used] = 0.98 * square[used] + 0.02 * (g * g).mean(1)
            if step == 20:
                # What is seen seldom has small slopes: it is to move less, not as far as the rest.
                floor = np.median(np.sqrt(square[square > 0]))
            rate = RATE * min(1, (step + 1) / 50) * (1 - step / steps)
            table[used] -= rate * mean[used] / (np.sqrt(square[used]) + floor)[:, None]
            cosine += float((e * targets[chosen]).sum() / BATCH)
            step += 1
            if step % 500 == 0:
                print(f"step {step} of {steps}, cosine {cosine / 500:.4f}", file=sys.stderr, flush=True)
                cosine = 0.0
    return table * unit_size


def write(data, out, without=()):
    rows = data.rows("fit")
    rows = rows[~np.isin(data.kind[rows], without)]
    projection = principal(data.teacher[rows])
    table = train(data, rows, projection, first_table(data, rows[:START_TEXTS], projection))
    store(data, rows, projection, table, out)


def store(data, rows, projection, table, out):
    """Step 4, and the files."""
    common = np.asarray((data.counts(rows[np.isin(data.kind[rows], DEBIAN)]) > 0).sum(0)).ravel()
    table *= ((common + 5.0) ** FREQUENCY_POWER)[:, None].astype("f4")
    # Sizes of rows are free; a sum over its weight of about length 1 is what the format had before.
    weight = data.weight.astype("f4")
    c = data.counts(rows)
    table /= np.median(np.linalg.norm(c @ table, axis=1) / (c @ weight))
    bias = (weight @ table / (weight @ weight)).astype("f4")
    rest = table - weight[:, None] * bias
    scale = np.maximum(np.abs(rest).max(1, keepdims=True) / 127, 1e-12).astype("f4")
    out.mkdir(exist_ok=True)
    np.round(rest / scale).astype("i1").tofile(out / f"table_i8_{len(table)}x{DIM}.bin")
    for name, values in [
        ("row_scale_f32", scale.ravel()), ("bias_f32", bias), ("weight_f32", weight),
        (f"teacher_projection_384x{DIM}_f32", projection),
    ]:
        values.astype("<f4").tofile(out / f"{name}.bin")
    print(len(rows), "texts,", int((np.asarray(c.sum(0)) > 0).sum()), "tokens seen")


def load(folder):
    """The table with its bias put back, and the projection."""
    read = lambda name, dtype="<f4": np.fromfile(Path(folder) / name, dtype)
    table = read("table_i8_30522x256.bin", "i1").reshape(-1, DIM) * read("row_scale_f32.bin")[:, None]
    projection = read("teacher_projection_384x256_f32.bin").reshape(384, DIM)
    return table + np.outer(read("weight_f32.bin"), read("bias_f32.bin")), projection


def nearest(base, queries, k):
    scores = queries @ base.T
    return np.argpartition(-scores, k, axis=1)[:, :k], scores


def overlap(base, queries, base_teacher, queries_teacher):
    ours, theirs = nearest(base, queries, 10)[0], nearest(base_teacher, queries_teacher, 10)[0]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ours, theirs)])


def neighbours_right(base, queries, base_labels, labels):
    near, scores = nearest(base, queries, 15)
    right = 0
    for row, label in enumerate(labels):
        votes = Counter()
        for j in near[row]:
            votes[base_labels[j]] += max(scores[row, j], 0) ** 4
        right += votes.most_common(1)[0][0] == label
    return right / len(labels)


def ridge_right(base, queries, base_labels, labels):
    """A linear classifier: least squares on +1 and -1, penalty 1, with an intercept."""
    names = np.unique(base_labels)
    y = np.where(base_labels[:, None] == names, 1.0, -1.0)
    x = (base - base.mean(0)).astype("f8")
    solved = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (y - y.mean(0)))
    return np.mean(names[((queries - base.mean(0)) @ solved + y.mean(0)).argmax(1)] == labels)


def evaluate(data, folders, split="test"):
    """Held-out rows only: Debian synopses searched and asked, docstrings and fortunes in fifths."""
    base, asked = data.rows("base"), data.rows(split)
    teach, section = data.teacher, data.section
    ten, thousand = base[:10_000], asked[:1000]

    def folds(rows, e):
        parts = np.array_split(np.arange(len(rows)), 5)
        found = []
        for part in parts:
            rest = np.setdiff1d(np.arange(len(rows)), part)
            found.append(overlap(e[rest], e[part], teach[rows[rest]], teach[rows[part]]))
        return np.mean(found)

    def line(name, e):
        of_base, of_asked = e(base), e(asked)
        print(
            f"| {name} | {neighbours_right(of_base, of_asked, section[base], section[asked]):.3f}"
            f" | {ridge_right(of_base, of_asked, section[base], section[asked]):.3f}"
            f" | {overlap(of_base[:10_000], of_asked[:1000], teach[ten], teach[thousand]):.3f}",
            *(f"| {folds(rows, e(rows)):.3f}" for rows in (data.rows("docs"), data.rows("far"))), "|", flush=True,
        )

    print("| model | kNN15 | ridge | synopses | docstrings | fortunes |\n|---|---|---|---|---|---|")
    line("MiniLM, 384", lambda rows: teach[rows])
    for n, folder in enumerate(folders):
        table, projection = load(folder)
        ours = lambda rows: data.counts(rows) @ table
        if n == 0:
            alone = ((data.tokens - data.tokens.mean(0)) @ projection * data.weight[:, None]).astype("f4")
            line("MiniLM, projected on 256", lambda rows: unit(teach[rows] @ projection))
            line("tokens alone (Model2Vec's way), 256", lambda rows: unit(data.counts(rows) @ alone))
        for d in CUTS:
            line(f"{folder}, {d}", lambda rows: unit(ours(rows)[:, :d]))
        both = {"table": lambda rows: unit(ours(rows)), "projection": lambda rows: unit(teach[rows] @ projection)}
        for a in both:
            for b in both:
                near = overlap(both[b](ten), both[a](thousand), teach[ten], teach[thousand])
                found = nearest(both[b](ten), both[a](thousand), 10)[0]
                first = nearest(teach[ten], teach[thousand], 1)[1].argmax(1)
                hit = np.mean([f in r for f, r in zip(first, found)])
                print(f"  {folder}: asked by the {a}, held by the {b}:"
                      f" overlap@10 {near:.3f}, MiniLM's first in ours {hit:.3f}")
                # Ranking the best fifty again by MiniLM leaves its own order among them.
                fifty = nearest(both[b](ten), both[a](thousand), 50)[0]
                theirs = nearest(teach[ten], teach[thousand], 10)[0]
                again = np.mean([len(set(f) & set(t)) / 10 for f, t in zip(fifty, theirs)])
                again_hit = np.mean([f in r for f, r in zip(first, fifty)])
                print(f"    the best 50 ranked again by MiniLM: overlap@10 {again:.3f}, its first {again_hit:.3f}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    loaded = Data(*sys.argv[1:3])
    if sys.argv[3] == "--evaluate":
        evaluate(loaded, sys.argv[4:])
    else:
        write(loaded, Path(sys.argv[3]), PYTHON if "--without-python" in sys.argv else ())
