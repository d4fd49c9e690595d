#!/usr/bin/env python3
"""GELU and layer norm of canon-1 by numpy, written from docs/canon.md: prints the digests that
crates/edge-kernels/tests/layers.rs pins. Shares no code with the crate.

    python3 -m venv VENV && VENV/bin/pip install numpy
    VENV/bin/python oracles/layers.py
"""

import hashlib

import numpy as np

F = np.float32
MASK = (1 << 64) - 1


def bits(*words):
    return np.array(words, "<u4").view("<f4")


P = bits(0x3E6D3389)[0]
POLY = bits(0x3F07DC22, 0xBF3A00E3, 0x3F35F0E3, 0xBE11A98E, 0x3E027906)
LOW, HIGH, LOG2E, LN2_HIGH, LN2_LOW = bits(0xC2AEAC4F, 0x42B17217, 0x3FB8AA3B, 0x3F318000, 0xB95E8083)
EXP = bits(0x39506967, 0x3AB743CE, 0x3C088908, 0x3D2AA9C1, 0x3E2AAAAA, 0x3F000000)


class SplitMix64:
    def __init__(self, seed):
        self.state = seed

    def unit(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
        return F((z >> 40) / 16777216.0 - 0.5)

    def units(self, count):
        return np.array([self.unit() for _ in range(count)], "<f4")


def exp(x):
    n = np.rint(x * LOG2E)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = np.full_like(x, EXP[0])
    for c in EXP[1:]:
        p = p * r + c
    y = (p * (r * r) + r) + F(1)
    half = np.floor(n / F(2))
    y = (y * np.exp2(half).astype("<f4")) * np.exp2(n - half).astype("<f4")
    return np.where(x < LOW, F(0), y)


def gelu(x):
    a = np.abs(x)
    t = F(1) / (a * P + F(1))
    p = np.full_like(x, POLY[0])
    for c in POLY[1:]:
        p = p * t + c
    q = (p * t) * exp((a * a) * F(-0.5))
    return (np.maximum(x, F(0)) - a * q) + F(0)


def sum16(x):
    acc = np.zeros(16, "<f4")
    for i in range(0, len(x), 16):
        acc[: len(x[i : i + 16])] += x[i : i + 16]
    for s in (8, 4, 2, 1):
        acc[:s] += acc[s : 2 * s]
    return acc[0]


def layer_norm(x, gain, bias, epsilon):
    count = F(len(x))
    mean = sum16(x) / count
    variance = sum16((x - mean) * (x - mean)) / count
    r = F(1) / np.sqrt(variance + F(epsilon))
    return (((x - mean) * r) * gain + bias) + F(0)


def main():
    random = SplitMix64(0x6E1)
    x = random.units(40_000) * F(32)
    rows, gain, bias = random.units(64 * 97), random.units(97), random.units(97)
    y = gelu(x)
    n = np.concatenate([layer_norm(row, gain, bias, 1e-12) for row in rows.reshape(64, 97)])
    for name, values in [("GELU", y), ("LAYER_NORM", n)]:
        assert values.dtype == np.float32
        print(name, hashlib.sha256(values.astype("<f4").tobytes()).hexdigest())


if __name__ == "__main__":
    main()
