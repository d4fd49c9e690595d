//! Identity, signatures, time, credits, digests, seeded randomness and the versioned codec of edge-net.
