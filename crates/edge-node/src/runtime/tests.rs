use std::sync::atomic::Ordering;

use edge_base::{Credits, Digest};
use edge_ledger::Network;
use edge_swarm::{Table, Ticket};
use futures::stream;

use super::*;
use crate::{
    config::{FileLayer, Layers},
    jobs::{self, ImportOptions, Jobs, Record, SearchOptions},
    store::disk::{disk, disk_of},
};
use start::{Parts, enter_pool, take_next_key};

fn config(folder: &std::path::Path) -> Config {
    let flag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let flags = vec![
        flag("data-dir", &folder.display().to_string()),
        flag("listen", "/ip4/127.0.0.1/tcp/0"),
        flag("mdns", "off"),
        flag("cpu", "100%"),
        flag("cpu-idle", "100%"),
    ];
    Config::load(&Layers { file: FileLayer::Nothing, environment: Vec::new(), flags }).unwrap()
}

fn found() -> Found {
    Found { grant: Credits::from_whole(1_000).unwrap(), network: Network::Test }
}

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(folder: &std::path::Path) -> NodeHandle {
    Node::start(config(folder), StartMode::ResumeOrFound(found())).await.unwrap()
}

fn texts(texts: &[&str]) -> Vec<Result<Record, String>> {
    let record = |text: &&str| Ok(Record { text: Some((*text).to_owned()), ..Record::default() });
    texts.iter().map(record).collect()
}

const CORPUS: [&str; 5] = [
    "set a read timeout on a TCP stream",
    "parse a JSON document from a string",
    "sort a vector of integers in place",
    "compress bytes with deflate",
    "open a window and draw a triangle",
];

/// The main job on one machine, with nobody else there; then everything again after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_embeds_imports_searches_matches_and_keeps_it() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path()).await;
    let jobs = Jobs::new(node.clone());

    let embedded = jobs.embed(&["hello world".to_owned()], Default::default()).await.unwrap();
    assert_eq!((embedded.vectors.len(), embedded.vectors[0].len()), (1, embedded.dim as usize));
    assert!(embedded.tasks[0].check.self_checked, "with nobody else there it says so");

    let labels = ["cooking".to_owned(), "networking sockets".to_owned()];
    let question = crate::jobs::MatchQuestion {
        texts: vec!["tcp connection timeout".to_owned()],
        labels: labels.to_vec(),
        ..Default::default()
    };
    let matched = jobs.match_labels(question, Default::default()).await.unwrap();
    assert_eq!(matched.texts[0].best, 1);

    jobs.create_collection("docs").await.unwrap();
    let mut seen = Vec::new();
    let broken = vec![Err("line 7 is not JSON".to_owned())];
    let records = stream::iter(texts(&CORPUS).into_iter().chain(broken).chain(texts(&[" "])));
    let report = jobs
        .import("docs", records, ImportOptions::default(), |progress| seen.push(*progress))
        .await
        .unwrap();
    assert_eq!((report.counts.read, report.counts.stored, report.counts.failed), (7, 5, 2));
    assert_eq!(report.errors[0].index, 5);
    assert_eq!(report.errors[0].reason, "line 7 is not JSON");
    assert_eq!(seen.last(), Some(&report.counts));

    let found = jobs.search_text("docs", "how do I set a timeout on a tcp connection", &k(2)).await;
    let found = found.unwrap();
    assert_eq!(found.hits.len(), 2);
    assert_eq!(found.hits[0].payload["text"], CORPUS[0]);
    assert!(found.hits[0].score >= found.hits[1].score);

    // Again: everything is known, nothing is embedded.
    let again = jobs.import("docs", stream::iter(texts(&CORPUS)), ImportOptions::default(), |_| {});
    let again = again.await.unwrap();
    assert_eq!((again.counts.known, again.counts.embedded, again.counts.stored), (5, 0, 0));

    let missing = jobs.search_text("dosc", "x", &k(2)).await.unwrap_err();
    assert_eq!(
        missing,
        Refusal::NotFound("there is no collection \"dosc\"; there are: docs".into())
    );
    let vector = jobs.search_vector("docs", vec![f32::NAN; 256], &k(2)).await.unwrap_err();
    assert!(matches!(vector, Refusal::Invalid(_)), "{vector:?}");

    let id = node.node();
    node.shutdown(PATIENCE).await.unwrap();
    let refused = jobs.embed(&["x".to_owned()], Default::default()).await.unwrap_err();
    assert!(matches!(refused, Refusal::Failed(_)));
    drop((node, jobs));

    let node = start(temp.path()).await;
    assert_eq!(node.node(), id);
    assert!(node.may_vote(), "a clean restart is no reason to doubt the votes");
    let jobs = Jobs::new(node.clone());
    let found = jobs.search_text("docs", "draw shapes", &k(1)).await.unwrap();
    assert_eq!(found.hits[0].payload["text"], CORPUS[4]);
    node.shutdown(PATIENCE).await.unwrap();
}

fn k(k: u32) -> SearchOptions {
    SearchOptions { k, ..SearchOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modes_refuse_what_would_mix_pools() {
    let temp = tempfile::tempdir().unwrap();
    let resume = Node::start(config(temp.path()), StartMode::Resume).await.unwrap_err();
    assert!(matches!(resume, NodeError::Peer(edge_swarm::StartError::NoPool)));
    let node = Node::start(config(temp.path()), StartMode::Found(found())).await.unwrap();

    let second = Node::start(config(temp.path()), StartMode::Resume).await.unwrap_err();
    assert!(second.to_string().contains("another node (process"), "{second}");

    let command = Command::Invite { owner: false, credits: Credits::ZERO };
    let Ok(Answer::Ticket(own)) = node.call(command).await else { panic!("no ticket") };
    let own: Ticket = own.parse().unwrap();
    assert_eq!((own.pool, own.inviter), (node.pool(), node.node()));
    node.shutdown(PATIENCE).await.unwrap();
    drop(node);

    let again = Node::start(config(temp.path()), StartMode::Found(found())).await.unwrap_err();
    assert!(matches!(again, NodeError::PoolExists { .. }));
    let other = Ticket { pool: Digest::of(b"other"), ..own.clone() };
    let other = Node::start(config(temp.path()), StartMode::Join(other)).await.unwrap_err();
    assert!(other.to_string().contains("--data-dir"), "{other}");
    // The pool it is of already: a restart with the same command line.
    let node = Node::start(config(temp.path()), StartMode::Join(own)).await.unwrap();
    node.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let mut config = config(temp.path());
    config.listen = vec![address.clone()];
    let error = Node::start(config, StartMode::Found(found())).await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chosen_port_is_kept_over_restarts_unless_it_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path()).await;
    let before = node.addresses().to_vec();
    node.shutdown(PATIENCE).await.unwrap();
    drop(node);
    let node = start(temp.path()).await;
    assert_eq!(node.addresses(), before);
    node.shutdown(PATIENCE).await.unwrap();
    drop(node);

    let port = before[0].split('/').nth(4).unwrap();
    let _taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    let node = start(temp.path()).await;
    assert_ne!(node.addresses(), before);
    node.shutdown(PATIENCE).await.unwrap();
}

/// Two nodes, a ticket, and a result that both agree on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_joins_by_ticket_and_works() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let founder = start(one.path()).await;
    let mut events = founder.events();
    let command = Command::Invite { owner: false, credits: Credits::from_whole(10).unwrap() };
    let Ok(Answer::Ticket(ticket)) = founder.call(command).await else { panic!("no ticket") };
    let ticket = ticket.parse().unwrap();
    let joiner = Node::start(config(two.path()), StartMode::Join(ticket)).await.unwrap();
    assert_eq!(joiner.pool(), founder.pool());
    let admitted = async {
        loop {
            let event = events.receiver.recv().await.unwrap();
            if matches!(event.event, Event::MemberKnown { .. }) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, admitted).await.unwrap();

    let jobs = Jobs::new(founder.clone());
    let agreed_by_both = async {
        loop {
            let texts = [format!("text {}", founder.event_count())];
            let embedded = jobs.embed(&texts, Default::default()).await.unwrap();
            if embedded.tasks[0].check.agreed.contains(&joiner.node()) {
                return embedded;
            }
        }
    };
    let embedded = tokio::time::timeout(PATIENCE, agreed_by_both).await.unwrap();
    assert!(!embedded.tasks[0].check.self_checked);
    let bytes = founder.transport_stats().peers[&joiner.node()].sent_bytes;
    assert!(bytes > 0);
    assert!(joiner.worker_stats().executed.load(Ordering::Relaxed) > 0);
    joiner.shutdown(PATIENCE).await.unwrap();
    founder.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_leaves_no_trace() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path()).await;
    for _ in 0..100 {
        let call = node.call(Command::Status);
        let _ = futures::poll!(std::pin::pin!(call));
    }
    assert!(node.call(Command::Status).await.is_ok());
    node.shutdown(PATIENCE).await.unwrap();
}

/// A node on a disk of one's own.
async fn on_disk(folder: &std::path::Path, store: Arc<Store>) -> (NodeHandle, Arc<Store>) {
    let config = config(folder);
    let folder = Folder::open(folder).unwrap();
    let key = folder.identity().unwrap();
    let store = Arc::into_inner(store).unwrap();
    let stored = enter_pool(&store, &folder, &config, &key, StartMode::ResumeOrFound(found()));
    let stored = stored.unwrap();
    let parts = Parts::ready(config, folder, key, store, stored).await.unwrap();
    let node = parts.run(NodeOptions::default(), &[]);
    let store = Arc::clone(&node.0.store);
    (node, store)
}

/// With a disk that takes 30 ms for each sync: when an answer is there, so is what it stands on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_comes_before_its_write_is_durable() {
    let temp = tempfile::tempdir().unwrap();
    let slow = Duration::from_millis(30);
    let (store, _, syncs) = disk(slow);
    let (node, store) = on_disk(temp.path(), store).await;
    let jobs = Jobs::new(node.clone());
    for n in 0..5 {
        let before = syncs.load(Ordering::SeqCst);
        let rows = store.rows(Table::Shards).unwrap().len();
        let began = Instant::now();
        jobs.create_collection(&format!("c{n}")).await.unwrap();
        assert!(began.elapsed() >= slow, "{:?}", began.elapsed());
        assert!(syncs.load(Ordering::SeqCst) > before);
        assert!(store.rows(Table::Shards).unwrap().len() > rows);
    }
    node.shutdown(PATIENCE).await.unwrap();
}

/// The disk fills up while the node runs: what was not made durable is not acknowledged, and the
/// node says why it stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_node_and_acknowledges_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let bytes = Arc::new(redb::backends::InMemoryBackend::new());
    let (store, full, _) = disk_of(&bytes, Duration::from_millis(1));
    let (node, store) = on_disk(temp.path(), store).await;
    let jobs = Jobs::new(node.clone());
    jobs.create_collection("before").await.unwrap();
    let stored = jobs.import("before", stream::iter(texts(&CORPUS)), Default::default(), |_| {});
    assert_eq!(stored.await.unwrap().counts.stored, 5);
    full.store(true, Ordering::SeqCst);
    let refused = jobs.create_collection("after").await.unwrap_err();
    assert!(refused.to_string().contains("no space left"), "{refused}");
    let reason = node.wait_ended().await.unwrap_err();
    assert!(reason.contains("free some, then start the node again"), "{reason}");
    drop(Folder::open(temp.path()).unwrap());
    drop((jobs, node, store));

    // Some is freed: what was acknowledged is there, the other is not.
    let (store, ..) = disk_of(&bytes, Duration::ZERO);
    let (node, _store) = on_disk(temp.path(), store).await;
    let jobs = Jobs::new(node.clone());
    let names: Vec<String> =
        jobs.collections().await.unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["before"]);
    let again = jobs.import("before", stream::iter(texts(&CORPUS)), Default::default(), |_| {});
    assert_eq!(again.await.unwrap().counts.known, 5);
    let found = jobs.search_text("before", "draw shapes", &k(1)).await.unwrap();
    assert_eq!(found.hits[0].payload["text"], CORPUS[4]);
    node.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_twice_is_fine() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path()).await;
    assert_eq!(node.ended(), None);
    node.shutdown(PATIENCE).await.unwrap();
    assert_eq!(node.ended(), Some(Ok(())));
    assert_eq!(node.shutdown(PATIENCE).await, Ok(()));
}

/// Known texts are among those that are sent and not among those that come back; without the setting none is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canaries_are_in_the_batch_and_not_in_its_answer() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = config(temp.path());
    config.canaries = "50%".parse().unwrap();
    let node = Node::start(config, StartMode::ResumeOrFound(found())).await.unwrap();
    let jobs = Jobs::new(node.clone());
    let batch = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let (first, second) = (batch(&CORPUS[..2]), batch(&CORPUS[2..]));
    let before = jobs.embed(&first, Default::default()).await.unwrap();
    let after = jobs.embed(&second, Default::default()).await.unwrap();
    // As many as there are known: two, among three.
    let shares = |embedded: &jobs::Embedded| embedded.tasks[0].check.canaries_ppm;
    assert_eq!((shares(&before), shares(&after)), (0, 400_000));
    assert_eq!(after.vectors.len(), second.len());
    node.shutdown(PATIENCE).await.unwrap();

    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path()).await;
    let jobs = Jobs::new(node.clone());
    jobs.embed(&first, Default::default()).await.unwrap();
    let without = jobs.embed(&second, Default::default()).await.unwrap();
    assert_eq!((shares(&without), without.vectors), (0, after.vectors));
    node.shutdown(PATIENCE).await.unwrap();
}

/// A process that is killed between any two steps of taking the next key takes it at the next start; until the peer
/// is done with the present one it is kept, and a key that is gone is never waited for.
#[test]
fn the_next_key_is_taken_once_the_present_one_is_done() {
    use crate::{
        folder::{read_identity, read_next_identity},
        store::{Commit as _, Opening, Owner},
    };
    use edge_swarm::{SuccessionRecord, Write};

    let temp = tempfile::tempdir().unwrap();
    let pool = Digest::of(b"pool");
    let present = || read_identity(temp.path()).unwrap().map(|(_, key)| key.node_id());
    let next = || read_next_identity(temp.path()).unwrap().map(|(_, key)| key.node_id());
    let open = |folder: &Folder| {
        let owner = present().map(|node| Owner { node, bound: true });
        Store::open(folder, 1 << 20, Opening { owner, next: next(), moved: false })
    };
    let put = |store: &Store, key: &[u8], value: Vec<u8>| {
        let write = Write { table: Table::Pool, key: key.to_vec(), value: Some(value) };
        store.commit(&[&write]).unwrap();
    };
    let (old, heir) = {
        let folder = Folder::open(temp.path()).unwrap();
        let (old, heir) = (folder.identity().unwrap(), folder.next_identity(&pool).unwrap());
        assert_eq!(folder.next_identity(&pool).unwrap().node_id(), heir.node_id(), "made once");
        let (store, _) = open(&folder).unwrap();
        store.belongs_to(old.node_id()).unwrap();
        put(&store, b"genesis", vec![1]);
        // Made, and the peer has not begun: nothing happens.
        take_next_key(&store, &folder, next()).unwrap();
        let record = SuccessionRecord::new(&old, &heir, vec![], &pool);
        put(&store, b"rotation", edge_base::codec::encode(&record));
        // Begun, not done: the present key goes on.
        take_next_key(&store, &folder, next()).unwrap();
        assert_eq!(present(), Some(old.node_id()));
        let gone = take_next_key(&store, &folder, None).unwrap_err();
        assert!(matches!(gone, NodeError::HeirGone { heir: named, .. } if named == heir.node_id()));
        put(&store, b"rotated", edge_base::codec::encode(&heir.node_id()));
        // Killed after the first of the two steps.
        store.belongs_to(heir.node_id()).unwrap();
        (old.node_id(), heir.node_id())
    };
    assert_eq!((present(), next()), (Some(old), Some(heir)));
    for _ in 0..2 {
        let folder = Folder::open(temp.path()).unwrap();
        let (store, _) = open(&folder).unwrap();
        take_next_key(&store, &folder, next()).unwrap();
        assert_eq!((present(), next()), (Some(heir), None));
    }
    // The control: with neither key in its place the folder is another's.
    std::fs::remove_file(temp.path().join("identity")).unwrap();
    let folder = Folder::open(temp.path()).unwrap();
    folder.identity().unwrap();
    assert!(open(&folder).is_err());
}
