//! All that differs between the operating systems and, later, a browser: one file per target, same
//! signatures. It makes the swarm, runs its task and waits.

mod native;

pub(crate) use native::{Mdns, MdnsEvent, build_swarm, check_free, mdns, sleep_until, spawn};
