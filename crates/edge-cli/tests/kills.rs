//! Real nodes are killed with SIGKILL at random moments of storing, replacing and deleting: what was
//! acknowledged is there afterwards, what was deleted stays away, and what was under way when the
//! kill came is there whole or not at all. Fifteen kills, times `EDGE_TEST_SCALE`, or `EDGE_KILLS`.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use edge_base::Rng;
use serde_json::{Value, json};

#[path = "support/node.rs"]
mod node;

use node::{Node, post, until};

const COLLECTION: &str = "kept";
/// One search answers with all records.
const ROWS_MAX: usize = 160;

/// What a record may be now: one of these versions, or away.
type States = BTreeMap<String, BTreeSet<Option<u64>>>;

/// Stores, replaces and deletes until told to stop; ids are the writer's own.
struct Writer {
    name: &'static str,
    states: States,
    rng: Rng,
    next: u64,
    acknowledged: u64,
    unanswered: u64,
}

impl Writer {
    fn new(name: &'static str) -> Writer {
        let rng = Rng::derive(7, name);
        Writer { name, states: States::new(), rng, next: 0, acknowledged: 0, unanswered: 0 }
    }

    /// Ids that are surely there.
    fn present(&self) -> Vec<String> {
        let there = |states: &BTreeSet<Option<u64>>| states.iter().all(Option::is_some);
        self.states.iter().filter(|(_, s)| there(s)).map(|(id, _)| id.clone()).collect()
    }

    fn run(&mut self, url: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let mut present = self.present();
            self.rng.shuffle(&mut present);
            let many = self.states.values().filter(|s| s.iter().any(Option::is_some)).count();
            let wanted: BTreeMap<String, Option<u64>> = if many > ROWS_MAX / 2
                || (!present.is_empty() && self.rng.chance(2, 5))
            {
                let count = 1 + self.rng.below(if many > ROWS_MAX / 2 { 40 } else { 5 }) as usize;
                present.into_iter().take(count).map(|id| (id, None)).collect()
            } else {
                let replaced = present.into_iter().take(self.rng.below(4) as usize);
                let count = 1 + self.rng.below(8);
                let new = (0..count).map(|n| format!("{}-{}", self.name, self.next + n));
                let ids: Vec<String> = replaced.chain(new).collect();
                self.next += count;
                let version = self.next;
                ids.into_iter().map(|id| (id, Some(version))).collect()
            };
            if wanted.is_empty() {
                return;
            }
            for (id, value) in &wanted {
                let states = self.states.entry(id.clone()).or_insert_with(|| [None].into());
                states.insert(*value);
            }
            if send(url, &wanted).is_err() {
                self.unanswered += 1;
                return;
            }
            self.acknowledged += 1;
            for (id, value) in wanted {
                self.states.insert(id, [value].into());
            }
        }
    }

    /// Compares with what is there, which is certain from now on.
    fn settle(&mut self, found: &BTreeMap<String, u64>) {
        for (id, states) in &mut self.states {
            let now = found.get(id).copied();
            assert!(states.contains(&now), "{id} is {now:?} and may be {states:?}");
            *states = [now].into();
        }
        let own = found.keys().filter(|id| id.split('-').next() == Some(self.name));
        own.for_each(|id| assert!(self.states.contains_key(id), "{id} was never sent"));
        self.states.retain(|_, states| !states.contains(&None));
    }
}

fn send(url: &str, wanted: &BTreeMap<String, Option<u64>>) -> Result<(), String> {
    let path = format!("collections/{COLLECTION}/records");
    if wanted.values().all(Option::is_none) {
        let ids: Vec<&String> = wanted.keys().collect();
        let answer = post(url, &format!("{path}/delete"), &json!({ "ids": ids }))?;
        assert_eq!(answer["deleted"], ids.len(), "{answer}");
        return Ok(());
    }
    let records: Vec<Value> = wanted
        .iter()
        .map(|(id, version)| {
            let version = version.unwrap();
            let vector = [7, 11, 13].map(|n| 1 + version % n);
            json!({ "id": id, "vector": vector, "payload": { "version": version } })
        })
        .collect();
    let answer = post(url, &path, &Value::Array(records))?;
    // A write that is made again may find the first one.
    let counted = ["stored", "known"].map(|count| answer[count].as_u64().unwrap());
    assert_eq!(counted.iter().sum::<u64>(), wanted.len() as u64, "{answer}");
    Ok(())
}

/// Every record, by an exact search for more than there can be. A write that was under way when its
/// node was killed is in the log or never will be, but may be accepted only after the restart: an
/// acknowledged write behind it says that this is decided.
fn everything(url: &str, kill: usize) -> BTreeMap<String, u64> {
    let fence = BTreeMap::from([("fence".to_owned(), Some(kill as u64))]);
    until("a write is acknowledged", || send(url, &fence).is_ok());
    let body = json!({ "vector": [1, 1, 1], "k": 256 });
    let mut found = None;
    until("the collection can be searched", || {
        found = post(url, &format!("collections/{COLLECTION}/search"), &body).ok();
        found.is_some()
    });
    let found = found.unwrap();
    let shards = found["shards"].as_array().unwrap();
    assert!(shards.iter().all(|shard| shard["mode"] == "exact"), "{found}");
    let hits = found["hits"].as_array().unwrap();
    assert!(hits.len() < 256);
    let entry = |hit: &Value| {
        (hit["id"].as_str().unwrap().to_owned(), hit["payload"]["version"].as_u64().unwrap())
    };
    let all: BTreeMap<String, u64> = hits.iter().map(entry).collect();
    assert_eq!(all.len(), hits.len(), "each record once");
    assert_eq!(all.get("fence"), Some(&(kill as u64)));
    all
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_deleted_returns() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let kills = number("EDGE_KILLS").unwrap_or_else(|| 15 * number("EDGE_TEST_SCALE").unwrap_or(1));
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = ["owner", "holder"].map(|name| Node::new(&folder.path().join(name)));
    nodes[0].start(&[]);
    let url = nodes[0].url().unwrap();
    let ticket = post(&url, "identity/invite", &json!({})).unwrap();
    nodes[1].start(&["--join", ticket["ticket"].as_str().unwrap()]);
    let create = json!({ "name": COLLECTION, "dim": 3 });
    post(&url, "collections", &create).unwrap();

    let mut writers = ["a", "b"].map(Writer::new);
    let mut rng = Rng::derive(1, "kills");
    let mut met = 0;
    for kill in 0..kills {
        let url = nodes[0].url().unwrap();
        // The holder one time in four.
        let victim = usize::from(rng.chance(1, 4));
        let delay = Duration::from_micros(rng.below(120_000));
        let stop = AtomicBool::new(false);
        let before: u64 = writers.iter().map(|writer| writer.unanswered).sum();
        std::thread::scope(|scope| {
            for writer in &mut writers {
                let (url, stop) = (&url, &stop);
                scope.spawn(move || writer.run(url, stop));
            }
            std::thread::sleep(delay);
            nodes[victim].kill();
            // Of a killed holder the owner goes on for a while.
            if victim == 1 {
                std::thread::sleep(delay);
            }
            stop.store(true, Ordering::Relaxed);
        });
        met += writers.iter().map(|writer| writer.unanswered).sum::<u64>() - before;
        nodes[victim].start(&[]);
        let url = nodes[0].url().unwrap();
        let found = everything(&url, kill);
        writers.iter_mut().for_each(|writer| writer.settle(&found));
        if kill % 100 == 99 {
            println!("{} kills, {met} met a write", kill + 1);
        }
    }
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    println!("{kills} kills, {met} met a write; {acknowledged} writes were acknowledged");
    // A slow machine acknowledges less between kills; none would show nothing.
    assert!(acknowledged * 4 >= kills as u64 && met * 4 >= kills as u64);
    let url = nodes[0].url().unwrap();
    let checked =
        post(&url, &format!("collections/{COLLECTION}/check"), &json!({ "sample": 100 })).unwrap();
    assert_eq!(
        (&checked["holds"], &checked["unreachable"]),
        (&json!(true), &json!(0)),
        "{checked}"
    );
}
