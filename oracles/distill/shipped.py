#!/usr/bin/env python3
"""Checks teacher.py against the shipped table: rows of tokens unseen in the fit keep their direction.

    python shipped.py     # some minutes: the teacher reads every token once
"""

from pathlib import Path

import numpy as np

from teacher import Teacher

MODEL = Path(__file__).resolve().parents[2] / "crates/edge-embed/model"
UNSEEN = 30_522 - 12_290


def main():
    table = np.fromfile(MODEL / "table_i8_30522x256.bin", "i1").reshape(-1, 256).astype("f4")
    projection = np.fromfile(MODEL / "teacher_projection_384x256_f32.bin", "<f4").reshape(384, 256)
    e = Teacher().embed([[101, t, 102] for t in range(len(table))])
    x = (e - e.mean(0)) @ projection
    cosine = (x * table).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(table, axis=1))
    same = int((cosine > 0.9999).sum())
    print(f"{same} of {len(table)} rows point as the teacher says; {UNSEEN} tokens were unseen")
    assert abs(same - UNSEEN) <= 5


if __name__ == "__main__":
    main()
