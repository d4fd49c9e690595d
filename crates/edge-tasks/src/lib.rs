//! Task kinds: canonical payloads, execution and verifiers.
