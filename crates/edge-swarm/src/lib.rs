//! The peer state machine: membership, tasks, verification, shard logs.
