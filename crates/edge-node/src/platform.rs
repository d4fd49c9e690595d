//! All that differs between operating systems: one file per family, same signatures.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as native;

#[cfg(not(unix))]
mod other;
#[cfg(not(unix))]
use other as native;

pub(crate) use native::{
    create_private, die_with_parent, facts, free_bytes, give_back_memory, input_idle,
    is_open_to_others, make_private_folder, open_private, overwrite_private, stop_signal,
    survive_file_size_limit, sync_folder, thread_cpu,
};

/// What tells a file from a copy of it. Empty or zero: not known on this system.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Facts {
    /// The file system's device number. It may change when the machine starts again.
    pub(crate) device: u64,
    /// The file's number on that device.
    pub(crate) inode: u64,
    /// The installation of the operating system.
    pub(crate) machine: String,
    /// This start of the machine.
    pub(crate) boot: String,
}

/// How long nobody has touched keyboard or mouse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InputIdle {
    /// For this long at least.
    For(std::time::Duration),
    /// This system does not say: treated as somebody being there.
    Unknown,
}
