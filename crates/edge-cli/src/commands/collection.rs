//! `collection`: create, import, list, check, remove.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Map, Value, json};

use super::{Context, ask::lines, counted, list, node_name, plain, text};
use crate::{
    args::{Check, Collection, Import},
    client::{Client, escaped},
    failure::{Exit, Failure, Outcome},
    interrupt,
    passages::{Documents, Passage, TOKENS_MIN},
    progress::{Progress, Shown},
};

/// Records of one request.
const BATCH: usize = 128;
/// Ids of one request.
const DELETE_BATCH: usize = 1_000;
/// Requests in flight.
const IN_FLIGHT: usize = 4;

pub(super) fn run(context: &Context, command: Collection) -> Outcome {
    match command {
        Collection::Create { name, model, storage } => {
            let mut body = json!({ "name": name });
            for (field, value) in [("model", model), ("storage", storage)] {
                if let Some(value) = value {
                    body[field] = value.into();
                }
            }
            let answer = context.client()?.post("/api/v1/collections", &body)?;
            context.show(&answer, |output, _| output.line(format!("made {name}")));
        }
        Collection::Import(import) => return run_import(context, &import),
        Collection::Ls => {
            let answer = context.client()?.get("/api/v1/collections")?;
            context.show(&answer, |output, answer| {
                let rows: Vec<Vec<String>> = list(answer, "collections").iter().map(row).collect();
                if rows.is_empty() {
                    output.line("no collections; make one: edge-net collection import NAME PATH");
                } else {
                    output.table(&["NAME", "ROWS", "SHARDS", "REPLICAS", "OWNER"], &rows);
                }
            });
        }
        Collection::Delete { name, ids } => return run_delete(context, &name, &ids),
        Collection::Check(check) => return run_check(context, &check),
        Collection::Rm { name, yes } => {
            if !yes && !context.output.json && !removes(&name) {
                let why = "all its records go, at every node, for good";
                return Err(Failure::new(Exit::Usage, "nothing was removed", why, "add --yes"));
            }
            let path = format!("/api/v1/collections/{}", escaped(&name));
            let answer = context.client()?.delete(&path)?;
            let answer = if answer.is_null() {
                json!({ "schema": "edge-net.removed/1", "name": name })
            } else {
                answer
            };
            context.show(&answer, |output, _| output.line(format!("removed {name}")));
        }
    }
    Ok(())
}

/// Asks back whether a collection is to go; only a person can be asked.
fn removes(name: &str) -> bool {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return true;
    }
    eprint!("remove {name} with all its records, at every node, for good? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer).is_ok();
    read && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn run_delete(context: &Context, name: &str, ids: &[String]) -> Outcome {
    let ids = match ids {
        [dash] if dash == "-" => lines()?,
        ids => ids.to_vec(),
    };
    if ids.is_empty() {
        let next = "give an id, or one a line on standard input";
        return Err(Failure::new(Exit::Usage, "nothing to delete", "no id was given", next));
    }
    let client = context.client()?;
    let path = format!("/api/v1/collections/{}/records/delete", escaped(name));
    let (mut deleted, mut missing) = (0, Vec::new());
    for ids in ids.chunks(DELETE_BATCH) {
        let answer = client.post(&path, &json!({ "ids": ids }))?;
        deleted += answer["deleted"].as_u64().unwrap_or(0);
        missing.extend(list(&answer, "missing").iter().cloned());
    }
    let answer = json!({ "schema": "edge-net.deleted/1", "deleted": deleted, "missing": missing });
    context.show(&answer, |output, _| {
        output.line(format!("deleted {}", counted(deleted as usize, "record")));
        for id in &missing {
            output.line(format!("no record has the id {}", plain(id)));
        }
    });
    Ok(())
}

fn run_check(context: &Context, check: &Check) -> Outcome {
    let path = format!("/api/v1/collections/{}/check", escaped(&check.name));
    let body = json!({ "sample": check.sample, "k": check.k, "ef": check.ef });
    let answer = context.client()?.post(&path, &body)?;
    context.show(&answer, |output, answer| {
        let rows: Vec<Vec<String>> = list(answer, "shards").iter().map(checked_row).collect();
        output.table(&["SHARD", "ROWS", "MODE", "RECALL", "WORST", "UNREACHABLE", "COPY"], &rows);
    });
    if answer["holds"] == true {
        return Ok(());
    }
    let damaged = |shard: &&Value| shard["holds"] != true;
    let shards: Vec<String> =
        list(&answer, "shards").iter().filter(damaged).map(|shard| text(shard, "shard")).collect();
    Err(Failure::new(
        Exit::Failed,
        format!("this node's copy of {} is damaged", check.name),
        format!("shards {}", shards.join(", ")),
        "restart the node: it builds its copies again from the log",
    ))
}

fn checked_row(shard: &Value) -> Vec<String> {
    let copy = &shard["copy"];
    let name: String = text(shard, "shard").chars().take(8).collect();
    if copy.is_null() {
        let nothing = || String::from("-");
        let other = String::from("held by others only");
        return vec![name, text(shard, "rows"), nothing(), nothing(), nothing(), nothing(), other];
    }
    let share = |field: &str| copy[field].as_f64().map_or_else(String::new, |x| format!("{x:.4}"));
    // A copy may be ahead of the last head that this node was told of.
    let in_step = copy["seq"].as_u64() >= shard["seq"].as_u64();
    let state = match (shard["holds"] == true, in_step) {
        (true, true) => String::from("holds"),
        (true, false) => format!("at {} of {}", text(copy, "seq"), text(shard, "seq")),
        (false, _) => String::from("DAMAGED"),
    };
    vec![
        name,
        text(copy, "rows"),
        text(copy, "mode"),
        share("recall"),
        share("recall_min"),
        text(copy, "unreachable"),
        state,
    ]
}

fn row(view: &Value) -> Vec<String> {
    let shards = list(view, "shards");
    let in_step = |shard: &Value, replica: &Value| replica["seq"].as_u64() >= shard["seq"].as_u64();
    // A copy that is still behind answers no search: it does not count yet.
    let held = |shard: &Value| {
        list(shard, "replicas").iter().filter(|replica| in_step(shard, replica)).count()
    };
    let fewest = shards.iter().map(held).min().unwrap_or(0);
    let (mut at, mut of) = (0, 0);
    for shard in shards {
        let behind = |replica: &&Value| !in_step(shard, replica) && replica["reachable"] == true;
        for replica in list(shard, "replicas").iter().filter(behind) {
            at += replica["seq"].as_u64().unwrap_or(0);
            of += shard["seq"].as_u64().unwrap_or(0);
        }
    }
    let behind = if of == 0 { String::new() } else { format!(" (catching up, {at} of {of})") };
    let wanted = shards.iter().filter_map(|shard| shard["wanted"].as_u64()).max().unwrap_or(0);
    // How shards stand whose owner signed two versions of them.
    let standings = shards.iter().filter_map(|shard| shard["standing"].as_str());
    let disputed: std::collections::BTreeSet<&str> = standings.filter(|s| *s != "sound").collect();
    let disputed: String =
        disputed.into_iter().map(|standing| format!(" ({})", standing.replace('_', " "))).collect();
    vec![
        text(view, "name"),
        text(view, "rows"),
        shards.len().to_string(),
        format!("{fewest} of {wanted}{behind}{disputed}"),
        node_name(&view["owner"]),
    ]
}

fn run_import(context: &Context, import: &Import) -> Outcome {
    let client = context.client()?;
    interrupt::on_signal(
        context.output,
        "what was stored stays: run the same command again to go on",
    );
    let limit = import.max_documents.unwrap_or(usize::MAX);
    let documents = Documents::read(&import.path, limit).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        let what = format!("{} cannot be read", import.path.display());
        Failure::new(exit, what, error, "name a folder or a file")
    })?;
    for skipped in &documents.skipped {
        context.output.remark(format!("skipped {}: {}", skipped.file, skipped.reason));
    }
    if let Some(kind) = documents.taken_for {
        let file = import.path.display();
        context.output.remark(format!("{file} is of no known kind: taken for {kind}"));
    }
    if documents.other > 0 {
        let files = counted(documents.other, "file");
        let names = documents.other_names.join(", ");
        let more = if documents.other > documents.other_names.len() { ", .." } else { "" };
        context.output.remark(format!("left out {files} of unknown kinds: {names}{more}"));
    }
    if documents.passages.is_empty() {
        let why = format!(
            "{} files read, {} skipped, {} of other kinds, and no passage of 5 tokens or more",
            documents.files,
            documents.skipped.len(),
            documents.other
        );
        let next = "give text, Markdown, source code, JSON Lines or CSV";
        return Err(Failure::new(Exit::NotFound, "there is nothing to import", why, next));
    }
    if documents.short > 0 {
        context.output.remark(format!(
            "left out {} of fewer than {TOKENS_MIN} tokens",
            counted(documents.short, "passage")
        ));
    }
    ensure_collection(&client, &import.name)?;
    let total = documents.passages.len();
    let shown = if context.output.quiet { Shown::Never } else { Shown::OnTerminal };
    let mut progress = Progress::new("importing", total as u64, shown);
    let report =
        import_passages(&client, &import.name, &documents.passages, &mut |done| progress.at(done));
    progress.finish();
    let report = report.map_err(|failure| match failure.exit {
        // It would be refused again.
        Exit::Refused => failure,
        _ => Failure {
            next: format!("{}; after that the same command goes on where it was", failure.next),
            ..failure
        },
    })?;
    let answer = json!({
        "schema": "edge-net.import/1",
        "collection": import.name,
        "files": documents.files,
        "passages": total,
        "stored": report.stored,
        "known": report.known,
        "replaced": documents.replaced + report.replaced,
        "failed": report.failed,
        "errors": report.errors,
        "skipped": documents.skipped,
        "short": documents.short,
        "left_out": documents.other,
        "left_out_files": documents.other_names,
        "taken_for": documents.taken_for,
    });
    context.show(&answer, |output, _| {
        output.line(format!(
            "{} of {total} passages stored, {} were there already, {} failed",
            report.stored, report.known, report.failed
        ));
        if documents.replaced > 0 {
            output.remark(format!(
                "{} records gave way to later ones with the same id",
                documents.replaced
            ));
        }
        for error in &report.errors {
            output.remark(format!("failed: {error}"));
        }
    });
    if report.failed > 0 {
        let why = format!("{} of {total} were refused", report.failed);
        let next = "see the reasons above; what was stored stays";
        return Err(Failure::failed("some passages were not stored", why, next));
    }
    Ok(())
}

/// Makes the collection unless it is there.
pub(crate) fn ensure_collection(client: &Client, name: &str) -> Outcome {
    let path = format!("/api/v1/collections/{}", escaped(name));
    match client.get(&path) {
        Ok(_) => Ok(()),
        Err(failure) if failure.exit == Exit::NotFound => {
            let made = client.post("/api/v1/collections", &json!({ "name": name })).map(drop);
            // Somebody else may have made it meanwhile.
            let there = |client: &Client| client.get(&path).is_ok();
            made.or_else(|failure| if there(client) { Ok(()) } else { Err(failure) })
        }
        Err(failure) => Err(failure),
    }
}

/// What became of an import.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Report {
    pub(crate) stored: u64,
    pub(crate) known: u64,
    pub(crate) replaced: u64,
    pub(crate) failed: u64,
    pub(crate) errors: Vec<String>,
}

/// Sends passages in batches, several in flight; `done` hears how many were answered.
///
/// # Errors
/// The first failure that is not about single records. What was acknowledged stays, and the same
/// import run again skips it.
pub(crate) fn import_passages(
    client: &Client,
    collection: &str,
    passages: &[Passage],
    done: &mut dyn FnMut(u64),
) -> Outcome<Report> {
    let path = format!("/api/v1/collections/{}/records", escaped(collection));
    let batches: Mutex<VecDeque<&[Passage]>> = Mutex::new(passages.chunks(BATCH).collect());
    let (answered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || -> Outcome<Report> {
        let mut report = Report::default();
        while !stop.load(Ordering::Relaxed) {
            let batch = batches.lock().unwrap_or_else(|p| p.into_inner()).pop_front();
            let Some(batch) = batch else { break };
            let records: Vec<Value> = batch.iter().map(record).collect();
            let answer = client.post(&path, &records).inspect_err(|_| {
                stop.store(true, Ordering::Relaxed);
            })?;
            report.take(&answer, batch);
            answered.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        Ok(report)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..IN_FLIGHT).map(|_| scope.spawn(work)).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            done(answered.load(Ordering::Relaxed));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        done(answered.load(Ordering::Relaxed));
        let mut whole = Report::default();
        for thread in threads {
            let part = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            whole.stored += part.stored;
            whole.known += part.known;
            whole.replaced += part.replaced;
            whole.failed += part.failed;
            whole.errors.extend(part.errors);
        }
        whole.errors.truncate(20);
        Ok(whole)
    })
}

impl Report {
    fn take(&mut self, answer: &Value, batch: &[Passage]) {
        let count = |field: &str| answer[field].as_u64().unwrap_or(0);
        self.stored += count("stored");
        self.known += count("known");
        self.replaced += count("replaced");
        self.failed += count("failed");
        let errors = list(answer, "errors").iter().map(|error| {
            let at = error["index"].as_u64().and_then(|at| batch.get(usize::try_from(at).ok()?));
            let place = at.map(|passage| format!("{}:{}: ", passage.file, passage.line));
            format!("{}{}", place.unwrap_or_default(), text(error, "reason"))
        });
        self.errors.extend(errors);
    }
}

fn record(passage: &Passage) -> Value {
    let mut payload: Map<String, Value> = passage.fields.clone().unwrap_or_default();
    payload.entry("file").or_insert_with(|| passage.file.clone().into());
    payload.entry("line").or_insert_with(|| passage.line.into());
    let mut record = json!({ "text": passage.text, "payload": payload });
    if let Some(key) = &passage.key {
        record["id"] = key.clone().into();
    }
    record
}
