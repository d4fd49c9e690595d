//! The daemon: configuration, storage, worker pool and runtime.
