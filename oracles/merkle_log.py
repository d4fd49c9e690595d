"""Golden vectors of crates/edge-coherence: Merkle trees, inclusion and consistency proofs as RFC 9162 section 2.1
defines them, computed from the definitions alone with hashlib.

    python3 oracles/merkle_log.py > crates/edge-coherence/tests/golden/merkle_log.txt
"""
import hashlib


def sha(data):
    return hashlib.sha256(data).digest()


def k_of(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(entries):
    if not entries:
        return sha(b"")
    if len(entries) == 1:
        return sha(b"\0" + entries[0])
    k = k_of(len(entries))
    return sha(b"\1" + mth(entries[:k]) + mth(entries[k:]))


def path(m, entries):
    if len(entries) == 1:
        return []
    k = k_of(len(entries))
    if m < k:
        return path(m, entries[:k]) + [mth(entries[k:])]
    return path(m - k, entries[k:]) + [mth(entries[:k])]


def subproof(m, entries, whole):
    if m == len(entries):
        return [] if whole else [mth(entries)]
    k = k_of(len(entries))
    if m <= k:
        return subproof(m, entries[:k], whole) + [mth(entries[k:])]
    return subproof(m - k, entries[k:], False) + [mth(entries[:k])]


def text(proof):
    return ",".join(step.hex() for step in proof) or "-"


# Entry i of every log: i as text, i mod 5 times over, so that entries differ in length and one is empty.
ENTRIES = [(str(i) * (i % 5)).encode() for i in range(70)]
for n in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 32, 33, 64, 70]:
    log = ENTRIES[:n]
    print("root", n, mth(log).hex())
    for m in sorted({0, 1, n // 2, n - 1} & set(range(n))):
        print("inclusion", m, n, text(path(m, log)))
    for m in sorted({1, 2, 3, n // 2, n - 1, n} & set(range(1, n + 1))):
        print("consistency", m, n, text(subproof(m, log, True)))
