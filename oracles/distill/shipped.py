#!/usr/bin/env python3
"""Checks the shipped table against the teacher without fitting anything.

    python shipped.py     # some minutes: the teacher reads every token once

1. The 200 texts of a golden file: the mean cosine between the table's embedding and the teacher's, projected.
2. Rows of tokens that no text showed are one linear map of what the teacher knows of them. The map is found from the
   rows that obey it, beginning with the tokens beyond ASCII, few of which were seen.
"""

import json
from pathlib import Path

import numpy as np

from fit import load, unit
from teacher import Teacher, load_tokenizer

CRATE = Path(__file__).resolve().parents[2] / "crates/edge-embed"
UNSEEN = 30_522 - 24_555


def main():
    table, projection = load(CRATE / "model")
    teacher, tokenizer = Teacher(), load_tokenizer()
    golden = json.loads((CRATE / "tests/golden/static_model.json").read_text())
    lists = [e.ids for e in tokenizer.encode_batch([row["text"] for row in golden["rows"]])]
    ours = unit(np.array([table[ids[1:-1]].sum(0) for ids in lists]))
    cosine = (ours * unit(teacher.embed(lists) @ projection)).sum(1).mean()
    print(f"mean cosine with the teacher: {cosine:.4f}")
    assert cosine > 0.85

    alone = teacher.embed([[101, t, 102] for t in range(len(table))])
    inputs = teacher.w["embeddings.word_embeddings.weight"]
    known = np.concatenate([alone, inputs, np.ones((len(table), 1))], 1).astype("f8")
    rows = table / np.log(2.0 + np.arange(len(table)))[:, None]
    words = [tokenizer.id_to_token(t) for t in range(len(table))]
    obey = np.array([not word.isascii() for word in words])
    for _ in range(10):
        x, y = known[obey], rows[obey]
        said = known @ np.linalg.solve(x.T @ x + 1e-6 * np.eye(x.shape[1]), x.T @ y)
        near = np.linalg.norm(said - rows, axis=1) / np.linalg.norm(rows, axis=1)
        obey = near < max(0.02, np.quantile(near, 0.05))
    print(f"{obey.sum()} of {len(table)} rows are the linear map's; {UNSEEN} tokens were unseen")
    # A token that was seen once or so may hardly have moved.
    assert 0 <= obey.sum() - UNSEEN <= UNSEEN // 25


if __name__ == "__main__":
    main()
