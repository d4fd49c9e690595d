//! Linux, macOS and the BSDs.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Facts, InputIdle};

/// CPU time of the calling thread (POSIX `CLOCK_THREAD_CPUTIME_ID`).
pub(crate) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Opens a file that only its owner may read, empty.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// As [`open_private`], of a file that must not be there yet.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// As [`open_private`], of a file that others may have been able to read so far.
pub(crate) fn overwrite_private(path: &Path) -> io::Result<File> {
    let file = open_private(path)?;
    // Not of a device or a pipe: those are not ours to close to others.
    if file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Makes a folder that only its owner may look into, if there is none, and closes one to others that was
/// made by hand.
pub(crate) fn make_private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match is_open_to_others(path) {
        Some(true) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)),
        Some(false) | None => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Bytes that this process may still write to the file system of a folder.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Gives the pages of memory that was freed back to the system, where its allocator keeps them.
pub(crate) fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call has no arguments that matter and no precondition; it locks the heap itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether others than its owner may do anything with a file or folder, where that can be known.
pub(crate) fn is_open_to_others(path: &Path) -> Option<bool> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some(meta.mode() & 0o077 != 0)
}

/// What tells this file from a copy.
pub(crate) fn facts(path: &Path) -> io::Result<Facts> {
    let meta = std::fs::metadata(path)?;
    let line = |path: &str| {
        std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    Ok(Facts {
        device: meta.dev(),
        inode: meta.ino(),
        machine: line("/etc/machine-id"),
        boot: line("/proc/sys/kernel/random/boot_id"),
    })
}

/// How long no terminal was typed into, which is what `w` shows as IDLE: the kernel touches a
/// terminal's access time when it is read. A graphical session shows nothing of its input to other
/// programs, so with one the answer is not known; nor is it off Linux.
pub(crate) fn input_idle() -> InputIdle {
    if !cfg!(target_os = "linux") || graphical_session() != Some(false) {
        return InputIdle::Unknown;
    }
    let mut newest = None;
    for folder in ["/dev/pts", "/dev"] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let console = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit()) && !rest.is_empty();
            let terminal = match folder {
                "/dev/pts" => console(&name),
                _ => name.strip_prefix("tty").is_some_and(console),
            };
            let accessed = entry.metadata().and_then(|meta| meta.accessed());
            if let (true, Ok(accessed)) = (terminal, accessed) {
                newest = newest.max(Some(accessed));
            }
        }
    }
    match newest {
        // No terminal at all: nobody can type.
        None => InputIdle::For(Duration::MAX),
        Some(newest) => {
            InputIdle::For(SystemTime::now().duration_since(newest).unwrap_or(Duration::ZERO))
        }
    }
}

/// Whether logind knows of a graphical session; `None` where there is no logind to ask.
fn graphical_session() -> Option<bool> {
    let Ok(sessions) = std::fs::read_dir("/run/systemd/sessions") else {
        // No logind: a display server leaves its sockets here.
        let display = std::fs::read_dir("/tmp/.X11-unix").is_ok_and(|mut d| d.next().is_some());
        return Some(display);
    };
    let graphical = sessions.flatten().any(|session| {
        std::fs::read_to_string(session.path())
            .is_ok_and(|text| text.contains("TYPE=x11") || text.contains("TYPE=wayland"))
    });
    Some(graphical)
}

/// Asks the kernel to end this process when the thread that started it ends, where it can. `false`:
/// the parent is already gone.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent() -> bool {
    let before = rustix::process::getppid();
    // An error leaves the watch on standard input, which works everywhere.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    before.is_some() && rustix::process::getppid() == before
}

/// Other kernels do not offer it; the watch on standard input works everywhere.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent() -> bool {
    true
}

/// Lets a write over the limit on file sizes fail with a reason; by default its signal, SIGXFSZ,
/// ends the process without a word. Holds for good; needs a tokio runtime.
pub(crate) fn survive_file_size_limit() {
    use tokio::signal::unix::{SignalKind, signal};
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays when the listener goes. Without one, all is as it was before.
    let _ = signal(kind);
}

/// Resolves when the process is asked to stop: SIGINT or SIGTERM.
pub(crate) async fn stop_signal() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
    })
}
