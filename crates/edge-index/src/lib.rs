//! Vector collections: exact and HNSW search, deletes, payload filters, snapshots.
