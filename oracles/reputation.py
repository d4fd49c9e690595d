"""Quantiles of beta distributions, for crates/edge-swarm/src/reputation.rs. Needs scipy."""

from scipy.stats import beta

for p, a, b in [
    (0.05, 1.5, 0.5),
    (0.05, 11.5, 0.5),
    (0.05, 10.5, 1.5),
    (0.05, 72.0, 3.25),
    (0.5, 2.0, 3.0),
    (0.95, 0.7, 0.9),
    (0.01, 40.0, 60.0),
]:
    print(f"({p!r}, {a!r}, {b!r}, {beta.ppf(p, a, b):.12f}),")
# How likely one attempt is enough of somebody who broke n promises and kept none.
broken = 0
for _ in range(2):
    broken = broken * 0.5 ** (1 / 50) + 1
    print(f"{1 - beta.cdf(2 / 3, 0.75, 0.25 + broken):.9f}")
