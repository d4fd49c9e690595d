"""The contribution curve and the cap, for crates/edge-ledger/src/mint.rs. Needs mpmath.

Prints crates/edge-ledger/tests/golden/mint.txt: micro-hours, micro-rUv an hour, the multiplier in
billionths, rounded down, and the cap in micro-rUv: the weighted hours rounded down to a micro-hour,
times the rate, rounded down, at most 2^64 - 1.
"""

from mpmath import exp, floor, mp, mpf

mp.dps = 80
MOST = 2**64 - 1


def line(micro_hours, rate):
    hours = mpf(micro_hours) / 10**6
    # What 80 digits lose of 1 - decay must not round up to 1: the limit is never reached.
    decay = max(exp(-hours / 10**6), mpf(10) ** -45)
    multiplier = int(floor((1 + 9 * decay) * 10**9))
    weighted = int(floor(10**6 * (hours + 9 * 10**6 * (1 - decay))))
    cap = rate * weighted // 10**6
    print(micro_hours, rate, multiplier, min(cap, MOST))


hours = [0, 1, 100, 12_345, 100_000, 500_000, 10**6, 5 * 10**6, 10**7, 3 * 10**7, 10**8, 10**12]
for rate in [1, 1_000_000, 3_600_000_000, MOST]:
    for whole in hours:
        line(whole * 10**6, rate)
# Parts of hours, around multiples of ln 2, and the edges of u64.
for micro_hours in [1, 999_999, 1_000_001, 693_147_180_559, 693_147_180_560, 6_931_471_805_599,
                    44_361_419_555_836, 2**63, MOST - 1, MOST]:
    for rate in [1, 3_600_000_000, MOST]:
        line(micro_hours, rate)
