//! Deterministic simulator: virtual network and disk, faults, checkers, scenarios.
