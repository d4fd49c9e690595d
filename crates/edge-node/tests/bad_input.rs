//! What a running node does with input that nobody wants: records that cannot be stored, models
//! nobody has, data folders that are damaged or copied. The whole list is in `docs/bad-input.md`.
#![allow(clippy::unwrap_used)] // Helpers of tests are not seen as tests.

use std::{path::Path, time::Duration};

use edge_base::{Credits, Digest};
use edge_ledger::Network;
use edge_node::{
    Found, Jobs, Node, NodeError, NodeHandle, NodeOptions, StartMode,
    config::{Config, FileLayer, Layers},
    jobs::{Record, SearchOptions},
    store::StoreError,
};
use edge_swarm::{Answer, Command, Event, Refusal, command::StatusView};
use edge_tasks::{Layout, Metric};
use futures::stream;

const PATIENCE: Duration = Duration::from_secs(20);
/// For nodes whose work under way is of no interest.
const SOON: Duration = Duration::from_millis(300);

fn config(folder: &Path) -> Config {
    let folder = folder.display().to_string();
    let flags = [
        ("data-dir", folder.as_str()),
        ("listen", "/ip4/127.0.0.1/tcp/0"),
        ("mdns", "off"),
        ("cpu", "100%"),
        ("cpu-idle", "100%"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    Config::load(&Layers { file: FileLayer::Nothing, environment: Vec::new(), flags }).unwrap()
}

async fn start(folder: &Path) -> NodeHandle {
    let found = Found { grant: Credits::from_whole(1_000).unwrap(), network: Network::Test };
    Node::start(config(folder), StartMode::ResumeOrFound(found)).await.unwrap()
}

async fn status(node: &NodeHandle) -> StatusView {
    match node.call(Command::Status).await {
        Ok(Answer::Status(status)) => *status,
        other => panic!("{other:?}"),
    }
}

/// What the node told those who watch, from its start on.
fn told(node: &NodeHandle) -> Vec<String> {
    let events = node.events_since(0).unwrap();
    let notes = events.iter().filter_map(|event| match &event.event {
        Event::Note { text } => Some(text.clone()),
        _ => None,
    });
    notes.collect()
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

fn text(text: impl Into<String>) -> Record {
    Record { text: Some(text.into()), ..Record::default() }
}

fn vector(id: &str, vector: &[f32]) -> Record {
    Record { id: Some(id.into()), vector: Some(vector.to_vec()), ..Record::default() }
}

/// Every record that cannot be stored is named with its reason; those beside it are stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_cannot_be_stored_are_named_and_the_others_stay() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path()).await;
    let jobs = Jobs::new(node.clone());
    jobs.create_collection("docs").await.unwrap();
    let mut heavy = text("a payload that is far too large");
    heavy.payload.insert("x".into(), "y".repeat(100 << 10).into());
    let records = [
        Ok(text("set a timeout on a socket")),
        Ok(text(" \n")),
        Ok(text("x ".repeat(2 << 20))),
        Ok(Record::default()),
        Err("not UTF-8".to_owned()),
        Ok(heavy),
        Ok(text("draw a triangle")),
    ];
    let report = jobs.import("docs", stream::iter(records), Default::default(), |_| {}).await;
    let report = report.unwrap();
    assert_eq!((report.counts.stored, report.counts.failed), (2, 5), "{:?}", report.errors);
    let named: Vec<u64> = report.errors.iter().map(|error| error.index).collect();
    assert_eq!(named, [1, 2, 3, 4, 5]);
    let reasons = ["empty", "over the limit", "text", "not UTF-8", "payload"];
    for (error, reason) in report.errors.iter().zip(reasons) {
        assert!(error.reason.contains(reason), "{error:?}");
    }

    let model = Digest::default();
    let layout = Layout { dim: 2, metric: Metric::Dot, model, ..Layout::texts(2, model) };
    jobs.create_collection_with("plain", &layout).await.unwrap();
    let records = [
        vector("good", &[1.0, 2.0]),
        vector("short", &[1.0]),
        vector("long", &[1.0, 2.0, 3.0]),
        vector("nan", &[f32::NAN, 0.0]),
        vector("infinite", &[0.0, f32::NEG_INFINITY]),
        vector("huge", &[f32::MAX, f32::MAX]),
    ];
    let records = stream::iter(records.map(Ok));
    let report = jobs.import("plain", records, Default::default(), |_| {}).await.unwrap();
    let named: Vec<&str> = report.errors.iter().filter_map(|error| error.id.as_deref()).collect();
    assert_eq!(named, ["short", "long", "nan", "infinite", "huge"], "{:?}", report.errors);
    assert_eq!(report.counts.stored, 1);
    let k = SearchOptions { k: 5, ..SearchOptions::default() };
    let found = jobs.search_vector("plain", vec![1.0, 1.0], &k).await.unwrap();
    assert_eq!((found.hits.len(), found.hits[0].score), (1, 3.0));
    node.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_model_is_refused_with_the_known_ones() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path()).await;
    let jobs = Jobs::new(node.clone());
    let model = Digest::of(b"a model of the future");
    let refused = jobs.embed_with(model, &["a".to_owned()], Default::default()).await.unwrap_err();
    let Refusal::NotFound(why) = refused else { panic!("{refused:?}") };
    assert!(why.contains(&model.short()) && why.contains("default"), "{why}");

    // A collection that a newer node made: its texts cannot be embedded here, and nothing breaks.
    jobs.create_collection_with("new", &Layout::texts(256, model)).await.unwrap();
    let refused = jobs.search_text("new", "a", &SearchOptions::default()).await.unwrap_err();
    assert!(matches!(refused, Refusal::NotFound(_)), "{refused:?}");
    let records = stream::iter([Ok(text("some words"))]);
    let refused = jobs.import("new", records, Default::default(), |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("there is no model"), "{refused}");
    assert!(jobs.embed(&["a".to_owned()], Default::default()).await.is_ok());
    node.shutdown(PATIENCE).await.unwrap();
}

/// The database of a member is damaged: that is named, the member keeps its identity and pool, has
/// the certificates again from others, and never votes again. Its own collection is kept by its
/// holder and not written over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_folder_is_named_and_filled_again_by_others_but_never_votes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let founder = start(one.path()).await;
    let ten = Credits::from_whole(10).unwrap();
    let invite = Command::Invite { owner: false, credits: ten };
    let Ok(Answer::Ticket(ticket)) = founder.call(invite).await else { panic!("no ticket") };
    let join = StartMode::Join(ticket.parse().unwrap());
    let member = Node::start(config(two.path()), join).await.unwrap();
    let id = member.node();
    until("the grant arrives", || async { status(&member).await.balance.incoming == ten }).await;
    until("they are connected", || async { status(&member).await.connected == 1 }).await;
    let jobs = Jobs::new(member.clone());
    jobs.create_collection("docs").await.unwrap();
    let sentence = "set a timeout on a socket";
    let records = stream::iter([Ok(text(sentence))]);
    let report = jobs.import("docs", records, Default::default(), |_| {}).await.unwrap();
    assert_eq!(report.counts.stored, 1);
    until("the founder knows it", || async {
        let known = Jobs::new(founder.clone()).collection("docs").await;
        known.is_ok_and(|(view, _)| view.rows == 1)
    })
    .await;
    member.shutdown(SOON).await.unwrap();
    drop((jobs, member));

    let database = two.path().join("pool.redb");
    let mut bytes = std::fs::read(&database).unwrap();
    bytes[4_096 * 2..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&database, bytes).unwrap();
    let member = Node::start(config(two.path()), StartMode::Resume).await.unwrap();
    assert_eq!((member.node(), member.pool()), (id, founder.pool()));
    assert!(!member.may_vote());
    let notes = told(&member);
    let damage = notes.iter().find(|note| note.contains("the database was damaged"));
    assert!(damage.is_some_and(|note| note.contains("pool.redb.corrupt-1")), "{notes:?}");
    assert!(two.path().join("pool.redb.corrupt-1").exists(), "for whoever wants to look");
    let notes = status(&member).await.notes;
    assert!(notes.iter().any(|note| note.starts_with("this node does not vote")), "{notes:?}");

    until("the certificates are here again", || async {
        let balance = status(&member).await.balance;
        balance.balance.plus(balance.incoming).unwrap().plus(balance.escrowed).unwrap()
            > Credits::ZERO
    })
    .await;
    let jobs = Jobs::new(member.clone());
    until("the collection is known again", || async { jobs.collection("docs").await.is_ok() })
        .await;
    let records = stream::iter([Ok(text("bake bread"))]);
    let refused = jobs.import("docs", records, Default::default(), |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("the log of the collection docs was lost"), "{refused}");
    let kept = Jobs::new(founder.clone()).search_text("docs", sentence, &Default::default()).await;
    assert_eq!(kept.unwrap().hits[0].payload["text"], sentence);
    member.shutdown(SOON).await.unwrap();
    founder.shutdown(SOON).await.unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Two nodes of one identity would sign two blocks of one account: a copy does not start. One that
/// was moved does when told so, and does not vote; the original does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_folder_is_refused_and_a_moved_one_does_not_vote() {
    let temp = tempfile::tempdir().unwrap();
    let (first, copy) = (temp.path().join("first"), temp.path().join("copy"));
    let node = start(&first).await;
    node.shutdown(PATIENCE).await.unwrap();
    drop(node);
    copy_folder(&first, &copy);
    for _ in 0..2 {
        let refused = Node::start(config(&copy), StartMode::Resume).await.unwrap_err();
        assert!(matches!(refused, NodeError::Store(StoreError::Copied { .. })), "{refused:?}");
    }
    let moved = NodeOptions { moved: true, ..NodeOptions::default() };
    let node = Node::start_with(config(&copy), StartMode::Resume, moved).await.unwrap();
    assert!(!node.may_vote());
    let notes = told(&node);
    assert!(notes.iter().any(|note| note.starts_with("the database is a copy")), "{notes:?}");
    let notes = status(&node).await.notes;
    assert!(notes.iter().any(|note| note.contains("was copied")), "{notes:?}");
    node.shutdown(PATIENCE).await.unwrap();
    drop(node);
    let node = Node::start(config(&copy), StartMode::Resume).await.unwrap();
    assert!(!node.may_vote());
    node.shutdown(PATIENCE).await.unwrap();
    let node = Node::start(config(&first), StartMode::Resume).await.unwrap();
    assert!(node.may_vote() && told(&node).is_empty());
    node.shutdown(PATIENCE).await.unwrap();
}

/// An identity that has a pool founds no second one, whatever is left of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_folder_never_becomes_another_pool() {
    let found = || StartMode::ResumeOrFound(Found::default());
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path()).await;
    let (id, pool) = (node.node(), node.pool());
    let command = Command::Invite { owner: false, credits: Credits::ZERO };
    let Ok(Answer::Ticket(ticket)) = node.call(command).await else { panic!("no ticket") };
    node.shutdown(PATIENCE).await.unwrap();
    drop(node);
    let path = |name: &str| temp.path().join(name);

    // The mirror knows the pool.
    std::fs::write(path("pool.redb"), []).unwrap();
    let mirror = std::fs::read(path("pool.mirror")).unwrap();
    let node = Node::start(config(temp.path()), found()).await.unwrap();
    assert_eq!((node.node(), node.pool(), node.may_vote()), (id, pool, false));
    node.shutdown(PATIENCE).await.unwrap();
    drop(node);
    assert_eq!(std::fs::read(path("pool.mirror")).unwrap().len(), mirror.len());

    // No identity beside the database: no new one is made.
    let identity = std::fs::read(path("identity")).unwrap();
    std::fs::remove_file(path("identity")).unwrap();
    for _ in 0..2 {
        let refused = Node::start(config(temp.path()), found()).await.unwrap_err();
        let missing = matches!(refused, NodeError::Store(StoreError::NoIdentity { .. }));
        assert!(missing, "{refused:?}");
        assert!(!path("identity").exists());
    }

    // Nothing but the identity, as after `identity import`.
    std::fs::write(path("identity"), identity).unwrap();
    for name in ["pool.redb", "pool.mirror"] {
        std::fs::remove_file(path(name)).unwrap();
    }
    let bound = std::fs::read(path("identity")).unwrap();
    for mode in [found(), StartMode::Found(Found::default()), StartMode::Resume, found()] {
        let refused = Node::start(config(temp.path()), mode).await.unwrap_err();
        let NodeError::PoolGone { network, .. } = &refused else { panic!("{refused:?}") };
        assert!(pool.to_string().starts_with(&network.to_string()), "{refused}");
        assert_eq!(std::fs::read(path("identity")).unwrap(), bound);
    }
    let join = StartMode::Join(ticket.parse().unwrap());
    let node = Node::start(config(temp.path()), join).await.unwrap();
    assert_eq!((node.node(), node.pool(), node.may_vote()), (id, pool, false));
    node.shutdown(PATIENCE).await.unwrap();
    drop(node);

    // Without the identity too, there is nothing left that binds anybody.
    for name in ["identity", "pool.redb", "pool.mirror"] {
        std::fs::remove_file(path(name)).unwrap();
    }
    let node = Node::start(config(temp.path()), found()).await.unwrap();
    assert!(node.may_vote() && node.node() != id && node.pool() != pool);
    node.shutdown(PATIENCE).await.unwrap();
}
