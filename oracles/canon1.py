"""canon-1 in plain Python, written from docs/canon.md: a second implementation that shares no code with
the Rust one, run over the same corpus (crates/edge-kernels/src/conformance.rs).

    python3 oracles/canon1.py            compares with crates/edge-kernels/tests/golden/canon-1.txt
    python3 oracles/canon1.py --print    prints the digests

Needs nothing but the standard library. A binary32 operation is the binary64 one rounded once more, which
is exact rounding for + - * / sqrt since 53 >= 2 * 24 + 2 (Figueroa, "When is double rounding innocuous?",
1995).
"""
import hashlib
import math
import pathlib
import struct
import sys

FORMAT = struct.Struct("<f")
MASK = (1 << 64) - 1
ORDER = ["sum16", "dot", "dot_many", "l2_squared", "mean_variance", "normalize", "exp", "softmax", "matmul",
         "elementwise", "i8", "top_k", "l2_squared_many", "codes"]
LENGTHS = list(range(131)) + [255, 256, 257, 384, 511, 512, 513, 1023, 1024, 1025, 2047, 4096, 4097]


def f(x):
    """Round to binary32."""
    return FORMAT.unpack(FORMAT.pack(x))[0]


def number(bits):
    return FORMAT.unpack(struct.pack("<I", bits))[0]


def bits_of(x):
    return struct.unpack("<I", FORMAT.pack(x))[0]


# Section 2

def sum16(terms):
    acc = [0.0] * 16
    for i, t in enumerate(terms):
        acc[i % 16] = f(acc[i % 16] + t)
    for s in (8, 4, 2, 1):
        for j in range(s):
            acc[j] = f(acc[j] + acc[j + s])
    return acc[0]


def dot(a, b):
    return sum16(f(x * y) for x, y in zip(a, b))


def l2_squared(a, b):
    return sum16(f(d * d) for d in (f(x - y) for x, y in zip(a, b)))


def mean(x):
    return f(sum16(x) / f(len(x))) if x else 0.0


def variance(x, m):
    return f(sum16(f(d * d) for d in (f(v - m) for v in x)) / f(len(x))) if x else 0.0


def normalize(x):
    s = dot(x, x)
    if s == 0 or math.isinf(s) or math.isnan(s):
        return None
    root = f(math.sqrt(s))
    return [f(v / root) + 0.0 for v in x]


# Section 3

def matmul(m, n, k, a, b):
    c = []
    for i in range(m):
        for j in range(n):
            total = 0.0
            for start in range(0, k, 256):
                partial = 0.0
                for q in range(start, min(start + 256, k)):
                    partial = f(partial + f(a[i * k + q] * b[q * n + j]))
                total = f(total + partial)
            c.append(total)
    return c


# Section 4

LOW, HIGH, LOG2E, LN2_HIGH, LN2_LOW = map(number, (0xC2AEAC4F, 0x42B17217, 0x3FB8AA3B, 0x3F318000, 0xB95E8083))
P = list(map(number, (0x39506967, 0x3AB743CE, 0x3C088908, 0x3D2AA9C1, 0x3E2AAAAA, 0x3F000000)))


def exp(x):
    if x < LOW:
        return 0.0
    if x > HIGH:
        return math.inf
    n = round(f(x * LOG2E))  # Python rounds ties to even
    r = f(f(x - f(n * LN2_HIGH)) - f(n * LN2_LOW))
    p = P[0]
    for c in P[1:]:
        p = f(f(p * r) + c)
    y = f(f(f(p * f(r * r)) + r) + 1.0)
    h = n // 2
    return f(f(y * 2.0**h) * 2.0 ** (n - h))


def difference(x, y):
    """x - y, which may overflow: struct refuses to round to infinity."""
    try:
        return f(x - y)
    except OverflowError:
        return math.copysign(math.inf, x - y)


def softmax(x):
    if not x:
        return []
    m = max(x)
    e = [exp(difference(v, m)) for v in x]
    s = sum16(e)
    return [f(v / s) + 0.0 for v in e]


# Sections 5 to 7

def add_scaled(x, y, w):
    return [f(v + f(u * w)) + 0.0 for v, u in zip(x, y)]


def scale_i8(x):
    return f(max((abs(v) for v in x), default=0.0) / 127.0)


def quantize(x, scale):
    return [max(-127, min(127, round(f(v / scale)))) if scale else 0 for v in x]


def top_k(hits, k):
    return sorted(hits, key=lambda hit: (-hit[0], hit[1]))[:k]


def sign_bits(x):
    """The code as one integer."""
    return sum(1 << i for i, v in enumerate(x) if v > 0)


# The corpus

class Random:
    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def unit(self):
        return (self.next() >> 40) / 16777216 - 0.5

    def value(self):
        draw = self.next()
        unit = self.unit()
        kind, high = draw & 63, draw >> 32
        if kind == 0:
            return number(high & 0x80000000)
        if kind == 1:
            return number(high & 0x807FFFFF)
        if kind == 2:
            return unit * 2.0**40
        if kind == 3:
            return unit * 2.0**-100
        return unit

    def values(self, n):
        return [self.value() for _ in range(n)]

    def bytes(self, n):
        return [b - 256 if b > 127 else b for b in (self.next() >> 56 for _ in range(n))]


def section(name):
    """The words of one section."""
    rnd = Random(ORDER.index(name) + 1)
    if name in ("sum16", "dot", "l2_squared", "mean_variance"):
        for n in LENGTHS:
            a, b = rnd.values(n), rnd.values(n)
            yield bits_of({"sum16": lambda: sum16(a), "dot": lambda: dot(a, b),
                           "l2_squared": lambda: l2_squared(a, b),
                           "mean_variance": lambda: variance(a, mean(a))}[name]())
    elif name == "dot_many":
        for dim, count in [(0, 3), (1, 9), (15, 4), (16, 5), (64, 7), (100, 6), (256, 9), (384, 5)]:
            query, rows = rnd.values(dim), rnd.values(dim * count)
            for row in range(count):
                yield bits_of(dot(query, rows[row * dim:(row + 1) * dim]))
    elif name == "normalize":
        for n in LENGTHS:
            x = rnd.values(n)
            unit = normalize(x)
            yield int(unit is not None)
            yield from map(bits_of, x if unit is None else unit)
    elif name == "exp":
        x = [f(rnd.unit() * 190) for _ in range(20000)]
        x += [0.0, LOW, number(0xC2AEAC50), HIGH, number(0x42B17218), number(0x7F7FFFFF), number(0xFF7FFFFF),
              number(0x00800000)]
        yield from (bits_of(exp(v)) for v in x)
    elif name == "softmax":
        for n in LENGTHS:
            x = [f(rnd.unit() * 60) for _ in range(n)]
            if x:
                x[-1] = number(0xFF7FFFFF)
            yield 1
            yield from map(bits_of, softmax(x))
    elif name == "matmul":
        for m, n, k in [(1, 1, 1), (1, 33, 300), (2, 16, 0), (3, 5, 7), (6, 16, 255), (7, 31, 256), (8, 32, 257),
                        (9, 33, 513), (17, 65, 70), (40, 100, 64)]:
            a, b = rnd.values(m * k), rnd.values(k * n)
            yield from map(bits_of, matmul(m, n, k, a, b))
    elif name == "elementwise":
        for n in LENGTHS:
            x, y, row, w = rnd.values(n), rnd.values(n), rnd.bytes(n), rnd.value()
            x = add_scaled(x, y, w)
            yield from map(bits_of, x)
            yield from map(bits_of, add_scaled(x, row, w))
    elif name == "i8":
        for n in LENGTHS:
            a, b = rnd.bytes(n), rnd.bytes(n)
            rows = rnd.bytes(n * 5)
            for other in [b] + [rows[r * n:(r + 1) * n] for r in range(5)]:
                yield sum(p * q for p, q in zip(a, other)) & 0xFFFFFFFF
            x = rnd.values(n)
            scale = scale_i8(x)
            yield bits_of(scale)
            yield from (q & 0xFFFFFFFF for q in quantize(x, scale if n % 2 == 0 else f(scale / 4)))
    elif name == "l2_squared_many":
        for dim, count in [(0, 3), (1, 9), (15, 4), (16, 5), (100, 6), (384, 5)]:
            query, rows = rnd.values(dim), rnd.values(dim * count)
            for row in range(count):
                yield bits_of(l2_squared(query, rows[row * dim:(row + 1) * dim]))
    elif name == "codes":
        for n in LENGTHS:
            a, b = rnd.values(n), rnd.values(n)
            p, q = sign_bits(a), sign_bits(b)
            for word in range((n + 63) // 64 * 2):
                yield p >> (32 * word) & 0xFFFFFFFF
            differ = bin(p ^ q).count("1")
            yield from (differ, 0, differ)
            row, scale = rnd.bytes(n), rnd.value()
            yield from (bits_of(f(v * scale) + 0.0) for v in row)
            for score, at in top_k([(v + 0.0, i) for i, v in enumerate(a)], 10):
                yield bits_of(score)
                yield at
    else:
        for n in (0, 1, 10, 1000):
            hits = []
            for _ in range(n):
                score = rnd.next() % 16 / 8 - 1
                hits.append((score, (rnd.next() & 0xFFFFFFFF).to_bytes(4, "big")))
            for score, ident in top_k(hits, 20):
                yield bits_of(score)
                yield int.from_bytes(ident, "big")


def main():
    lines = []
    for name in ORDER:
        digest = hashlib.sha256()
        for word in section(name):
            digest.update(struct.pack("<I", word))
        lines.append(f"{name} {digest.hexdigest()}\n")
    if "--print" in sys.argv:
        sys.stdout.writelines(lines)
        return
    golden = pathlib.Path(__file__).parent.parent / "crates/edge-kernels/tests/golden/canon-1.txt"
    wanted = golden.read_text().splitlines(keepends=True)
    for got, want in zip(lines, wanted):
        print("equal " if got == want else "DIFFERS", got.split()[0])
    sys.exit(lines != wanted)


if __name__ == "__main__":
    main()
