//! Systems without POSIX calls: Windows. Compiled, not tested.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::{Facts, InputIdle};

thread_local! {
    static STARTED: Instant = Instant::now();
}

/// Wall time of the calling thread, the upper bound of its CPU time: the limit is then kept with
/// something to spare.
pub(crate) fn thread_cpu() -> Duration {
    STARTED.with(Instant::elapsed)
}

/// Opens an empty file with the folder's permissions.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

/// As [`open_private`], of a file that must not be there yet.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// As [`open_private`].
pub(crate) fn overwrite_private(path: &Path) -> io::Result<File> {
    open_private(path)
}

/// Makes a folder that only its owner may look into, if there is none.
pub(crate) fn make_private_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Folders cannot be synced here; NTFS journals names by itself.
pub(crate) fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Not known.
pub(crate) fn is_open_to_others(_path: &Path) -> Option<bool> {
    None
}

/// Nothing is known.
pub(crate) fn facts(_path: &Path) -> io::Result<Facts> {
    Ok(Facts::default())
}

/// Not known.
pub(crate) fn input_idle() -> InputIdle {
    InputIdle::Unknown
}

/// Not known.
pub(crate) fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

/// Left to the allocator.
pub(crate) fn give_back_memory() {}

/// Left to the watch on standard input.
pub(crate) fn die_with_parent() -> bool {
    true
}

/// There is no such limit.
pub(crate) fn survive_file_size_limit() {}

/// Resolves on Ctrl-C.
pub(crate) async fn stop_signal() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await?;
    Ok("interrupted")
}
