use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use redb::backends::InMemoryBackend;

use super::{disk::disk, *};

fn write(table: Table, key: &[u8], value: Option<&[u8]>) -> Write {
    Write { table, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

const ME: NodeId = NodeId([7; 32]);

/// A folder whose identity is bound once it has a pool.
fn try_open(path: &Path, moved: bool) -> Result<(Folder, Store, Vec<Finding>), StoreError> {
    let folder = Folder::open(path).unwrap();
    let bound = path.join("pool.mirror").exists();
    let opening = Opening { owner: Some(Owner { node: ME, bound }), next: None, moved };
    let (store, findings) = Store::open(&folder, 16 << 20, opening)?;
    Ok((folder, store, findings))
}

fn open(path: &Path) -> (Folder, Store, Vec<Finding>) {
    try_open(path, false).unwrap()
}

/// With another identity than that of the folder, or with none.
fn open_as(path: &Path, owner: Option<Owner>) -> Result<Store, StoreError> {
    let folder = Folder::open(path).unwrap();
    Store::open(&folder, 1 << 20, Opening { owner, next: None, moved: false })
        .map(|(store, _)| store)
}

fn markers(folder: &Path) -> Vec<[u8; 16]> {
    meta::markers(folder).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn put(store: &Store, table: Table, key: &[u8], value: &[u8]) {
    store.commit(&[&write(table, key, Some(value))]).unwrap();
}

#[test]
fn what_was_committed_is_there_again() {
    let temp = tempfile::tempdir().unwrap();
    {
        let (_folder, store, findings) = open(temp.path());
        assert_eq!(findings, [Finding::Created]);
        for table in Table::ALL {
            put(&store, table, b"kept", table.name().as_bytes());
            put(&store, table, b"gone", b"x");
        }
        let removals: Vec<Write> = Table::ALL.map(|table| write(table, b"gone", None)).into();
        store.commit(&removals.iter().collect::<Vec<_>>()).unwrap();
    }
    let (_folder, store, findings) = open(temp.path());
    assert_eq!(findings, []);
    assert!(store.may_vote());
    let stored = store.load_all().unwrap();
    assert_eq!(stored.rows.len(), Table::ALL.len() - 1);
    assert!(!stored.rows.contains_key(&Table::Log));
    for (table, rows) in &stored.rows {
        assert_eq!(rows, &[(b"kept".to_vec(), table.name().as_bytes().to_vec())]);
    }
    assert_eq!(store.load(Table::Log, b"kept").unwrap().as_deref(), Some(b"log".as_slice()));
    assert_eq!(store.load(Table::Log, b"gone").unwrap(), None);
}

#[test]
fn the_same_key_written_twice_in_a_batch_has_the_later_value() {
    let store = Store::on_backend(InMemoryBackend::new()).unwrap();
    let writes = [
        write(Table::Tasks, b"k", Some(b"1")),
        write(Table::Tasks, b"k", None),
        write(Table::Tasks, b"k", Some(b"2")),
    ];
    store.commit(&writes.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(store.load(Table::Tasks, b"k").unwrap().as_deref(), Some(b"2".as_slice()));
}

#[test]
fn a_second_process_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let (folder, store, _) = open(temp.path());
    assert!(matches!(Folder::open(temp.path()), Err(crate::folder::FolderError::InUse { .. })));
    // Without the lock file, the database's own lock says it.
    let refused = Store::open(&folder, 1 << 20, Opening::default()).unwrap_err();
    assert_eq!(refused, StoreError::InUse(store.path().to_owned()));
}

/// A process that was killed leaves an unclean file and no unlock: its votes count all the same.
#[test]
fn a_crash_does_not_take_the_right_to_vote() {
    let temp = tempfile::tempdir().unwrap();
    let (folder, store, _) = open(temp.path());
    put(&store, Table::Votes, b"vote", b"1");
    let crashed = temp.path().join("crashed");
    std::fs::copy(store.path(), &crashed).unwrap();
    drop(store);
    // The bytes of the crash, in the file that was there.
    let bytes = std::fs::read(&crashed).unwrap();
    let path = folder.path().join(DATABASE);
    std::fs::write(&path, bytes).unwrap();
    drop(folder);
    let (_folder, store, findings) = open(temp.path());
    assert_eq!(findings, []);
    assert!(store.may_vote());
    assert_eq!(store.load(Table::Votes, b"vote").unwrap().as_deref(), Some(b"1".as_slice()));
}

#[test]
fn a_moved_folder_may_vote_and_a_copied_one_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (first, moved, copy) =
        (temp.path().join("first"), temp.path().join("moved"), temp.path().join("copy"));
    {
        let (_folder, store, _) = open(&first);
        put(&store, Table::Pool, b"genesis", b"the pool");
        put(&store, Table::Votes, b"vote", b"1");
    }
    std::fs::rename(&first, &moved).unwrap();
    let (folder, store, findings) = open(&moved);
    assert_eq!((findings, store.may_vote()), (vec![], true));
    drop((folder, store));

    copy_folder(&moved, &copy);
    let before = markers(&copy);
    for _ in 0..2 {
        let refused = try_open(&copy, false).unwrap_err();
        assert!(matches!(&refused, StoreError::Copied { reason, .. } if reason.contains("`cp`")));
        assert!(refused.to_string().contains("freeze"), "{refused}");
        assert_eq!(markers(&copy), before, "nothing is noted");
    }
    for moved in [true, false, false] {
        let (_folder, store, findings) = try_open(&copy, moved).unwrap();
        assert_eq!(matches!(findings.as_slice(), [Finding::Copied(_)]), moved, "said once");
        assert!(!store.may_vote(), "a copy stays a copy");
    }
    let (_folder, store, findings) = open(&moved);
    assert_eq!((findings, store.may_vote()), (vec![], true), "the original is still the original");
}

#[test]
fn an_older_database_beside_a_newer_marker_is_a_restore() {
    let temp = tempfile::tempdir().unwrap();
    let database = temp.path().join(DATABASE);
    let backup = {
        let (folder, store, _) = open(temp.path());
        put(&store, Table::Pool, b"genesis", b"the pool");
        drop((folder, store));
        std::fs::read(&database).unwrap()
    };
    for _ in 0..2 {
        let (_folder, store, findings) = open(temp.path());
        assert_eq!(findings, []);
        put(&store, Table::Votes, b"vote", b"later");
    }
    // Written into the same file: its number does not change.
    std::fs::write(&database, backup).unwrap();
    let refused = try_open(temp.path(), false).unwrap_err();
    assert!(matches!(&refused, StoreError::Copied { reason, .. } if reason.contains("restore")));
    let (_folder, store, findings) = try_open(temp.path(), true).unwrap();
    assert!(matches!(findings.as_slice(), [Finding::Copied(_)]), "{findings:?}");
    assert!(!store.may_vote());
}

/// All files of a stopped node, written over those of a later start as `cp -r backup/* folder/` does.
#[test]
fn a_backup_that_is_written_over_a_folder_is_a_restore() {
    let temp = tempfile::tempdir().unwrap();
    let (folder, backup) = (temp.path().join("folder"), temp.path().join("backup"));
    {
        let (_folder, store, _) = open(&folder);
        put(&store, Table::Pool, b"genesis", b"the pool");
    }
    copy_folder(&folder, &backup);
    let restore = || {
        for entry in std::fs::read_dir(&backup).unwrap() {
            let from = entry.unwrap().path();
            let bytes = std::fs::read(&from).unwrap();
            std::fs::write(folder.join(from.file_name().unwrap()), bytes).unwrap();
        }
    };
    // Nothing happened since: it is what it was.
    restore();
    {
        let (_folder, store, findings) = open(&folder);
        assert_eq!((findings, store.may_vote()), (vec![], true));
        put(&store, Table::Votes, b"vote", b"later");
    }
    assert_eq!(markers(&folder).len(), 1, "each start leaves one");
    restore();
    let refused = try_open(&folder, false).unwrap_err();
    assert!(matches!(&refused, StoreError::Copied { reason, .. } if reason.contains("restore")));
    let (_folder, store, findings) = try_open(&folder, true).unwrap();
    assert!(matches!(findings.as_slice(), [Finding::Copied(_)]), "{findings:?}");
    assert!(!store.may_vote());
    assert_eq!(markers(&folder).len(), 1);
}

/// The file of earlier versions is taken for what it says, and goes.
#[test]
fn a_marker_of_an_earlier_version_is_one() {
    let temp = tempfile::tempdir().unwrap();
    drop(open(temp.path()));
    let [marker] = markers(temp.path())[..] else { panic!() };
    let path = temp.path().join(format!("marker-{:032x}", u128::from_be_bytes(marker)));
    std::fs::remove_file(path).unwrap();
    std::fs::write(temp.path().join("marker"), [9; 16]).unwrap();
    assert!(matches!(try_open(temp.path(), false).unwrap_err(), StoreError::Copied { .. }));
    std::fs::write(temp.path().join("marker"), marker).unwrap();
    let (_folder, store, findings) = open(temp.path());
    assert_eq!((findings, store.may_vote()), (vec![], true));
    assert!(!temp.path().join("marker").exists());
}

/// Certificates that a checkpoint made needless are removed: the file is made smaller by the next start.
/// The control: what is needed still is not moved, and stays.
#[test]
fn room_that_removed_rows_left_is_given_back() {
    for kept in [20_000u32, 50] {
        let temp = tempfile::tempdir().unwrap();
        let key = |n: u32| n.to_be_bytes();
        let all: Vec<Write> = (0..20_000)
            .map(|n| write(Table::Certificates, &key(n), Some(&[n as u8; 700])))
            .collect();
        let gone: Vec<Write> =
            (kept..20_000).map(|n| write(Table::Certificates, &key(n), None)).collect();
        {
            let (_folder, store, _) = open(temp.path());
            store.commit(&all.iter().collect::<Vec<_>>()).unwrap();
            store.commit(&gone.iter().collect::<Vec<_>>()).unwrap();
        }
        let length = || std::fs::metadata(temp.path().join(DATABASE)).unwrap().len();
        let before = length();
        assert!(before > 14 << 20, "{before}");
        let (_folder, store, findings) = open(temp.path());
        assert_eq!((findings, store.may_vote()), (vec![], true));
        let rows = store.rows(Table::Certificates).unwrap();
        assert_eq!(rows.len(), kept as usize);
        assert!(
            rows.iter()
                .enumerate()
                .all(|(n, (k, v))| { k[..] == key(n as u32) && v[..] == [n as u8; 700] })
        );
        let after = length();
        assert_eq!(kept == 50, after < before / 4, "{before} {after}");
    }
}

#[test]
fn a_damaged_database_is_set_aside_and_the_pool_is_kept() {
    for (damage, at) in [("header", 0), ("inside", 4_096 * 3)] {
        let temp = tempfile::tempdir().unwrap();
        {
            let (_folder, store, _) = open(temp.path());
            put(&store, Table::Pool, b"genesis", b"the pool");
            for n in 0..500u32 {
                put(&store, Table::Certificates, &n.to_be_bytes(), &[7; 100]);
            }
        }
        let path = temp.path().join(DATABASE);
        let mut bytes = std::fs::read(&path).unwrap();
        for byte in &mut bytes[at..] {
            *byte ^= 0x5a;
        }
        std::fs::write(&path, bytes).unwrap();
        let (_folder, store, findings) = open(temp.path());
        let [Finding::Damaged { moved_to, reason }] = findings.as_slice() else {
            panic!("{damage}: {findings:?}");
        };
        assert!(moved_to.ends_with("pool.redb.corrupt-1") && moved_to.exists());
        assert!(!reason.is_empty());
        assert!(!store.may_vote());
        let pool = store.rows(Table::Pool).unwrap();
        assert_eq!(pool, [(b"genesis".to_vec(), b"the pool".to_vec())], "{damage}");
        assert_eq!(store.rows(Table::Votes).unwrap(), []);
    }
}

#[test]
fn a_flipped_byte_in_a_value_is_found_at_the_next_start() {
    let temp = tempfile::tempdir().unwrap();
    {
        let (_folder, store, _) = open(temp.path());
        put(&store, Table::Pool, b"genesis", b"the pool");
        put(&store, Table::Votes, b"vote", b"a value that is easy to find");
    }
    let path = temp.path().join(DATABASE);
    let mut bytes = std::fs::read(&path).unwrap();
    let needle = b"a value that is easy to find";
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter_map(|(at, window)| (window == needle).then_some(at))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&path, bytes).unwrap();
    let (_folder, store, findings) = open(temp.path());
    assert!(!findings.is_empty());
    assert!(!store.may_vote());
}

#[test]
fn a_database_that_vanished_was_there_once() {
    let temp = tempfile::tempdir().unwrap();
    {
        let (_folder, store, _) = open(temp.path());
        put(&store, Table::Pool, b"genesis", b"the pool");
    }
    std::fs::remove_file(temp.path().join(DATABASE)).unwrap();
    let (_folder, store, findings) = open(temp.path());
    assert_eq!(findings, [Finding::Lost]);
    assert!(!store.may_vote());
    assert_eq!(store.rows(Table::Pool).unwrap().len(), 1);
}

/// Also when the process was killed at any place between making a database and filling it.
#[test]
fn an_empty_database_is_filled_from_the_mirrors() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join(DATABASE);
    {
        let (_folder, store, _) = open(temp.path());
        put(&store, Table::Pool, b"genesis", b"the pool");
        put(&store, Table::Members, b"member", b"somebody");
    }
    for made in ["an empty file", "a new database", "one with the members and no pool"] {
        std::fs::write(&path, []).unwrap();
        if made != "an empty file" {
            let database = Database::create(&path).unwrap();
            let transaction = database.begin_write().unwrap();
            if made != "a new database" {
                let mut table = transaction.open_table(definition(Table::Members)).unwrap();
                table.insert(&b"member"[..], &b"somebody"[..]).unwrap();
            }
            transaction.commit().unwrap();
        }
        let (_folder, store, findings) = open(temp.path());
        assert_eq!(findings, [Finding::Lost], "{made}");
        assert!(!store.may_vote());
        assert_eq!(store.rows(Table::Pool).unwrap().len(), 1, "{made}");
        assert_eq!(store.rows(Table::Members).unwrap().len(), 1, "{made}");
    }
    // Emptied, while all around it fits.
    {
        let (_folder, store, findings) = open(temp.path());
        assert_eq!(findings, []);
        let folder = temp.path().join("pool.mirror");
        let mirror = std::fs::read(&folder).unwrap();
        store.commit(&[&write(Table::Pool, b"genesis", None)]).unwrap();
        std::fs::write(&folder, mirror).unwrap();
    }
    let (_folder, store, findings) = open(temp.path());
    assert_eq!((findings, store.rows(Table::Pool).unwrap().len()), (vec![Finding::Lost], 1));
}

/// A start that ended at any place is no copy, and takes no right from a node that never ran.
#[test]
fn a_first_start_that_was_killed_is_the_first_start_still() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join(DATABASE), []).unwrap();
    for place in ["before the marker", "before the pool", "after the pool"] {
        if place == "before the marker" {
            std::fs::write(temp.path().join(format!("marker-{:032x}", 7)), []).unwrap();
        }
        let store =
            open_as(temp.path(), Some(Owner { node: ME, bound: false })).expect("no reason to ask");
        assert!(store.may_vote(), "{place}");
        if place == "before the pool" {
            put(&store, Table::Pool, b"genesis", b"the pool");
        }
    }
}

#[test]
fn a_folder_with_a_pool_is_not_given_to_another_identity() {
    let temp = tempfile::tempdir().unwrap();
    {
        let (_folder, store, _) = open(temp.path());
        put(&store, Table::Pool, b"genesis", b"the pool");
    }
    let other = |bound| Some(Owner { node: NodeId([8; 32]), bound });
    for _ in 0..2 {
        let missing = open_as(temp.path(), None).unwrap_err();
        let StoreError::NoIdentity { owner: Some(ME), .. } = missing else { panic!("{missing:?}") };
        assert!(missing.to_string().contains(&ME.short()), "{missing}");
        for bound in [false, true] {
            let refused = open_as(temp.path(), other(bound)).unwrap_err();
            assert!(matches!(refused, StoreError::OtherIdentity { owner: ME, .. }), "{refused:?}");
        }
    }
    let (folder, store, findings) = open(temp.path());
    assert_eq!((findings, store.may_vote()), (vec![], true), "nothing happened to its own");
    drop((folder, store));

    // Without the database, the mirror still says that there is a pool.
    std::fs::remove_file(temp.path().join(DATABASE)).unwrap();
    let missing = open_as(temp.path(), None).unwrap_err();
    assert!(matches!(missing, StoreError::NoIdentity { owner: None, .. }), "{missing:?}");
    let (folder, store, findings) = open(temp.path());
    assert_eq!((findings, store.may_vote()), (vec![Finding::Lost], false));
    drop((folder, store));

    // Without a pool there is nothing to keep apart: whoever comes next starts anew.
    for name in [DATABASE, "pool.mirror", "members.mirror"] {
        let _ = std::fs::remove_file(temp.path().join(name));
    }
    let mine = Some(Owner { node: ME, bound: true });
    assert!(!open_as(temp.path(), mine).unwrap().may_vote(), "its votes are gone");
    let store = open_as(temp.path(), None).unwrap();
    assert!(store.may_vote());
    store.belongs_to(NodeId([8; 32])).unwrap();
    drop(store);
    assert!(open_as(temp.path(), other(false)).unwrap().may_vote());
    assert!(!open_as(temp.path(), mine).unwrap().may_vote());
}

/// What the message of a damaged database says to do works, when the disk gives the right bytes
/// again.
#[test]
fn a_database_that_was_set_aside_can_be_tried_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join(DATABASE);
    {
        let (_folder, store, _) = open(temp.path());
        put(&store, Table::Pool, b"genesis", b"the pool");
        put(&store, Table::Shards, b"only", b"here");
    }
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[4_096 * 3..].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(path, bytes).unwrap();
    };
    flip(&path);
    let (folder, store, findings) = open(temp.path());
    let [found @ Finding::Damaged { moved_to, .. }] = findings.as_slice() else {
        panic!("{findings:?}")
    };
    let text = found.to_string();
    for said in [&moved_to.display().to_string(), "only in that file", DATABASE, "--moved"] {
        assert!(text.contains(said), "{text}");
    }
    drop((folder, store));
    flip(moved_to);
    std::fs::rename(moved_to, &path).unwrap();
    assert!(matches!(try_open(temp.path(), false).unwrap_err(), StoreError::Copied { .. }));
    let (_folder, store, findings) = try_open(temp.path(), true).unwrap();
    assert!(matches!(findings.as_slice(), [Finding::Copied(_)]), "{findings:?}");
    assert_eq!(store.load(Table::Shards, b"only").unwrap().as_deref(), Some(&b"here"[..]));
    assert!(!store.may_vote());
}

#[test]
fn a_newer_layout_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    {
        let (_folder, store, _) = open(temp.path());
        store.put_meta("schema", &(SCHEMA + 1).to_le_bytes()).unwrap();
    }
    for _ in 0..2 {
        let folder = Folder::open(temp.path()).unwrap();
        let refused = Store::open(&folder, 1 << 20, Opening::default()).unwrap_err();
        assert!(matches!(refused, StoreError::Newer { found, .. } if found == SCHEMA + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_released_before_its_write_is_durable() {
    let (store, _, syncs) = disk(Duration::from_millis(5));
    let released = Arc::new(Mutex::new(Vec::new()));
    let (seen, check, counter) = (Arc::clone(&released), Arc::clone(&store), Arc::clone(&syncs));
    let pipeline = Pipeline::start(Arc::clone(&store), 64, move |n: u32| {
        // Every write up to and including this batch's own is there, and was synced.
        let key = n.to_be_bytes();
        assert!(check.load(Table::Tasks, &key)?.is_some() || n % 3 == 2, "{n}");
        assert!(counter.load(Ordering::SeqCst) > 0);
        seen.lock().unwrap().push(n);
        Ok(())
    });
    for n in 0..300u32 {
        // Every third batch has no write of its own, and still must not overtake.
        let writes = match n % 3 {
            2 => Vec::new(),
            _ => vec![write(Table::Tasks, &n.to_be_bytes(), Some(b"x"))],
        };
        pipeline.push(Batch { writes, then: vec![n] }).await.unwrap();
    }
    tokio::task::spawn_blocking(|| pipeline.close()).await.unwrap().unwrap();
    assert_eq!(*released.lock().unwrap(), (0..300).collect::<Vec<_>>());
    let commits = store.stats().commits.load(Ordering::Relaxed);
    assert!((1..200).contains(&commits), "200 batches were grouped into {commits} commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_without_writes_cost_no_commit() {
    let (store, _, _) = disk(Duration::ZERO);
    let (released, receiver) = mpsc::channel();
    let pipeline = Pipeline::start(Arc::clone(&store), 4, move |n: u32| {
        released.send(n).unwrap();
        Ok(())
    });
    for n in 0..10 {
        pipeline.push(Batch { writes: Vec::new(), then: vec![n, n + 100] }).await.unwrap();
    }
    tokio::task::spawn_blocking(|| pipeline.close()).await.unwrap().unwrap();
    assert_eq!(receiver.iter().count(), 20);
    assert_eq!(store.stats().commits.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_releases_and_says_so() {
    let (store, full, _) = disk(Duration::ZERO);
    let (released, receiver) = mpsc::channel();
    let pipeline = Pipeline::start(Arc::clone(&store), 4, move |n: u32| {
        released.send(n).unwrap();
        Ok(())
    });
    let batch = |n: u32| Batch {
        writes: vec![write(Table::Tasks, &n.to_be_bytes(), Some(&[0; 10_000]))],
        then: vec![n],
    };
    pipeline.push(batch(0)).await.unwrap();
    assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(0));
    full.store(true, Ordering::SeqCst);
    let mut n = 1;
    while pipeline.push(batch(n)).await.is_ok() {
        n += 1;
    }
    assert_eq!(pipeline.failure(), Some(&StoreError::Full("backend".into())));
    assert_eq!(receiver.try_iter().count(), 0, "nothing after the failure was released");
    let failed = tokio::task::spawn_blocking(|| pipeline.close()).await.unwrap();
    assert_eq!(failed, Err(StoreError::Full("backend".into())));
}
