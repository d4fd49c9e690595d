use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redb::{StorageBackend, backends::InMemoryBackend};

use super::Store;

/// A disk in memory that can be slow and can be full.
struct Disk {
    inner: Arc<InMemoryBackend>,
    sync_takes: Duration,
    full: Arc<AtomicBool>,
    syncs: Arc<AtomicU64>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        let full = self.full.load(Ordering::SeqCst);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(self.sync_takes);
        self.check()?;
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.inner.write(offset, data)
    }
}

/// A store on such a disk, the switch that fills it, and how often it was synced.
pub(crate) fn disk(sync_takes: Duration) -> (Arc<Store>, Arc<AtomicBool>, Arc<AtomicU64>) {
    disk_of(&Arc::new(InMemoryBackend::new()), sync_takes)
}

/// The same over bytes that outlive the store.
pub(crate) fn disk_of(
    bytes: &Arc<InMemoryBackend>,
    sync_takes: Duration,
) -> (Arc<Store>, Arc<AtomicBool>, Arc<AtomicU64>) {
    let (full, syncs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (inner, marks) = (Arc::clone(bytes), (Arc::clone(&full), Arc::clone(&syncs)));
    let disk = Disk { inner, sync_takes, full: marks.0, syncs: marks.1 };
    (Arc::new(Store::on_backend(disk).unwrap()), full, syncs)
}
