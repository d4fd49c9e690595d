//! The main job from end to end, on this machine: four nodes as processes, a liar, a kill, and a
//! summary that is computed from outside.
//!
//! The parent is a client like any other: it starts `edge-net start` as child processes, talks to
//! them over HTTP and reads their event streams. In the end it stops them, reads their data folders
//! and checks what they hold with code of its own ([`fold`], [`audit`], [`mod@recall`]).

mod audit;
mod events;
mod fold;
mod kill;
mod nodes;
mod recall;
mod say;
mod searches;
mod stay;
mod store;
mod summary;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use edge_base::{NodeId, RecordId, Rng, ShardId};
use edge_embed::{Model as _, StaticModel};
use edge_tasks::Lie;
use serde_json::{Value, json};

use crate::{
    args,
    commands::{Context, ensure_collection, import_passages, list},
    failure::{Exit, Failure, Outcome},
    interrupt,
    passages::{Corpus, Documents, Passage, corpus, locked_packages},
    progress::{Progress, Shown},
};
use events::{names, node_of};
use kill::Kill;
use nodes::{Family, Member};
use say::Say;
use searches::{COLLECTION, Tally, hit_ids, many, search};
use summary::{Matrix, Summary};

/// Searches before the kill, and after it.
const SEARCHES_EACH: usize = 520;
/// Passages drawn as queries for recall.
const RECALL_QUERIES: usize = 200;
/// Hits asked for recall: the query finds itself.
const RECALL_K: usize = 11;
/// Passages whose vectors are made again.
const SAMPLE: usize = 500;
/// Texts of the request that measures embedding.
const EMBED_TEXTS: usize = 1_024;
/// Callers at once of each kind while a node is killed.
const STORM_CALLERS: usize = 4;
/// Kills, at most, until one hits.
const KILLS_MAX: usize = 5;
/// How long the pool may take to name the liar.
const NAMING: Duration = Duration::from_secs(15);
/// What a liar that lies from the beginning puts at stake, in rUv.
const LIARS_STAKE: u64 = 5;
/// How long a node may take to hold everything again.
const CATCH_UP: Duration = Duration::from_secs(20);
/// Asked of the default corpus.
const QUESTIONS: [&str; 3] = [
    "how do I set a timeout on a tcp connection",
    "split a string at the first comma",
    "generate random bytes that nobody can guess",
];

/// Runs the demo.
pub(crate) fn run(context: &Context, args: &args::Demo) -> Outcome {
    let say = Say::new(context.output.quiet);
    let root = tempfile::Builder::new()
        .prefix("edge-net-demo-")
        .tempdir()
        .map_err(|error| Failure::failed("no temporary folder", error, "set TMPDIR"))?;
    let kind = if args.honest { "nobody lies" } else { "a fifth joins later and lies" };
    say.step(&format!("four nodes on this machine, {kind}; data in {}", root.path().display()));
    // What the parent computes itself is computed by the definition of the kernels.
    edge_kernels::force(edge_kernels::Simd::Scalar)
        .expect("invariant: every machine has the scalar kernels");
    let family = Family::default();
    stay::end_on_signal(&family, root.path(), args.keep);
    let outcome = Demo::new(args, &say, root.path(), &family).and_then(|mut demo| {
        let summary = demo.run(context.output.quiet)?;
        finish(context, args, &say, &mut demo, &summary)
    });
    say.rest();
    while interrupt::under_way() {
        // The nodes are being ended and the folders removed; then the process ends.
        std::thread::park();
    }
    family.kill_all();
    if args.keep {
        let kept = root.keep();
        context.output.remark(format!("the nodes' folders are kept in {}", kept.display()));
    } else if let Err(error) = root.close() {
        context.output.remark(format!("the temporary folder could not be removed: {error}"));
    }
    outcome
}

/// Prints the summary; stays up unless told otherwise.
fn finish(
    context: &Context,
    args: &args::Demo,
    say: &Say,
    demo: &mut Demo<'_>,
    summary: &Summary,
) -> Outcome {
    summary.say(say);
    if context.output.json {
        context.output.object(&summary.json());
    } else if context.output.quiet {
        context.output.line(summary.json().to_string());
    }
    let complaints = &summary.found.complaints;
    if args.exit {
        stay::what_next(say, None);
        if let Some(first) = complaints.first() {
            say.line(format!("{} statements do not hold, the first: {first}", complaints.len()));
            return Err(Failure::failed(
                "the demo found something that does not hold",
                first,
                "run it again with --keep and look at the folders",
            ));
        }
        return Ok(());
    }
    let liar = summary.liar;
    demo.members
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| Some(*at) != liar)
        .try_for_each(|(_, member)| member.restart())?;
    let url = demo.members[0].client.base().to_owned();
    stay::what_next(say, Some(&url));
    say.rest();
    stay::answer_questions(context, &demo.members[0].client);
    Ok(())
}

/// The demo under way.
struct Demo<'a> {
    args: &'a args::Demo,
    say: &'a Say,
    root: &'a Path,
    family: &'a Family,
    members: Vec<Member>,
    rng: Rng,
    tally: Tally,
}

impl<'a> Demo<'a> {
    fn new(
        args: &'a args::Demo,
        say: &'a Say,
        root: &'a Path,
        family: &'a Family,
    ) -> Outcome<Self> {
        let rng = Rng::derive(args.seed, "demo");
        let tally = Tally::default();
        Ok(Demo { args, say, root, family, members: Vec::new(), rng, tally })
    }

    fn run(&mut self, quiet: bool) -> Outcome<Summary> {
        let args = self.args.clone();
        let documents = std::thread::spawn(move || read_documents(&args));
        self.found_pool()?;
        self.say.step("reading documents");
        let documents =
            documents.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (documents, source) = documents;
        self.say_documents(&documents, &source);
        let passages = documents.passages;
        let (first, second) = passages.split_at(passages.len() / 2);
        ensure_collection(&self.members[0].client, COLLECTION)?;
        self.import(first, quiet)?;
        self.ask();
        let embed_texts_per_s = self.embed(&passages);
        self.search_for(SEARCHES_EACH, &passages);

        let liar = self.join_fifth()?;
        let (third, fourth) = second.split_at(second.len() / 2);
        self.import_beside_liar(third, &passages, liar)?;
        let storm = self.storm(fourth, &passages)?;
        self.say.step("searching without the killed node");
        let (recall_answers, after) = self.searches_after(&passages);
        self.say_shards();
        self.say_state();
        let after_kill = after + storm.after_kill;
        self.bring_back(storm.kill.victim)?;
        let matrix = self.matrix();
        self.settle();
        self.stop();

        self.say.step("checking from outside: folders, signatures, credits, vectors, recall");
        let sample = self.draw(&passages, SAMPLE);
        let subjects = self.subjects(liar);
        let found = audit::audit(&audit::Question {
            subjects: &subjects,
            sample: &sample,
            acknowledged: &storm.acknowledged,
            victim: Some(storm.kill.victim),
        });
        self.say.doing("comparing searches with a scan of everything");
        let recall = recall(&passages, &recall_answers);
        let nodes = self.members.iter().map(|m| (m.name.clone(), m.node)).collect();
        let mut summary = Summary {
            nodes,
            found,
            tally: std::mem::take(&mut self.tally),
            after_kill,
            recall,
            queries: recall_answers.len(),
            embed_texts_per_s,
            matrix,
            liar: liar.filter(|_| !self.args.honest),
            wall_s: self.say.elapsed().as_secs_f64(),
        };
        judge(&mut summary, &storm, passages.len());
        Ok(summary)
    }

    /// Four nodes; three join as strangers without a credit, then become witnesses.
    fn found_pool(&mut self) -> Outcome {
        self.say.doing("starting node-1");
        let first = Member::start(self.root, "node-1", self.family, None, None)?;
        self.say.line(format!(
            "node-1 is {} at {}; it founded the pool and is its only witness",
            first.node.short(),
            first.client.base()
        ));
        self.members.push(first);
        for n in 2..=4 {
            self.join(&format!("node-{n}"), None, 0)?;
        }
        self.wait_connected(3)?;
        self.say.line("node-2, node-3 and node-4 joined by tickets, as strangers without credits");
        let witnesses: Vec<String> =
            self.members[1..].iter().map(|member| member.node.to_hex()).collect();
        let body = json!({ "witnesses": witnesses });
        self.members[0].client.post("/api/v1/ledger/handover", &body)?;
        self.until("the witness set has four members", Duration::from_secs(10), |demo| {
            Ok(demo.members[0].client.get("/api/v1/status")?["witnesses"] == 4)
        })?;
        self.say.line("node-1 handed its witness duty over to all four; three are the quorum");
        Ok(())
    }

    fn join(&mut self, name: &str, lie: Option<String>, credits: u64) -> Outcome<usize> {
        self.say.doing(&format!("starting {name}"));
        let body = json!({ "owner": false, "credits": credits });
        let ticket = self.members[0].client.post("/api/v1/identity/invite", &body)?;
        let ticket = ticket["ticket"].as_str().map(str::to_owned).ok_or_else(|| {
            Failure::failed("node-1 gave no ticket", &ticket, "this is a fault of edge-net")
        })?;
        let member = Member::start(self.root, name, self.family, Some(&ticket), lie)?;
        self.members.push(member);
        Ok(self.members.len() - 1)
    }

    fn wait_connected(&self, others: usize) -> Outcome {
        self.until("the members are connected", Duration::from_secs(20), |demo| {
            let peers = demo.members[0].client.get("/api/v1/peers")?;
            let connected = list(&peers, "peers").iter().filter(|p| p["connected"] == true).count();
            Ok(connected >= others)
        })
    }

    fn until(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Self) -> Outcome<bool>,
    ) -> Outcome {
        let began = Instant::now();
        self.say.doing(&format!("waiting until {what}"));
        while !holds(self)? {
            if began.elapsed() > limit {
                let why = format!("not within {} s", limit.as_secs());
                let next = "run it again with --keep and look at the nodes' logs";
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!("waited until {what}"),
                    why,
                    next,
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn say_documents(&self, documents: &Documents, source: &str) {
        self.say.line(format!(
            "{} passages of {} files of {source} ({} before duplicates and the limit)",
            documents.passages.len(),
            documents.files,
            documents.seen
        ));
        for skipped in documents.skipped.iter().take(5) {
            self.say.line(format!("  skipped {}: {}", skipped.file, skipped.reason));
        }
        if documents.skipped.len() > 5 {
            self.say.line(format!("  and {} more", documents.skipped.len() - 5));
        }
    }

    fn import(&self, passages: &[Passage], quiet: bool) -> Outcome {
        self.say.step(&format!("embedding and indexing the first {} passages", passages.len()));
        let shown = if quiet { Shown::Never } else { Shown::OnTerminal };
        let mut progress = Progress::new("import", passages.len() as u64, shown);
        self.say.bar(true);
        let began = Instant::now();
        let client = &self.members[0].client;
        let report = import_passages(client, COLLECTION, passages, &mut |done| progress.at(done));
        progress.finish();
        self.say.bar(false);
        let report = report?;
        let rate = report.stored as f64 / began.elapsed().as_secs_f64();
        self.say.line(format!("{} stored, {rate:.0} passages/s", report.stored));
        stored_all(&report.errors, report.failed)
    }

    /// A few questions, a match, and what came back.
    fn ask(&mut self) {
        let client = &self.members[0].client;
        for question in QUESTIONS {
            let began = Instant::now();
            match search(client, question, 3) {
                Ok(answer) => {
                    let took = began.elapsed();
                    self.say.line(format!("? {question} ({:.0} ms)", took.as_secs_f64() * 1e3));
                    for hit in list(&answer, "hits") {
                        self.say.line(format!("    {}", stay::hit_line(hit)));
                    }
                    self.tally.take(&answer, took);
                }
                Err(failure) => self.say.line(format!("? {question}: {failure}")),
            }
        }
        let body = json!({
            "text": "my order arrived broken and I want my money back",
            "labels": ["customer complaint", "holiday greeting", "weather report"],
        });
        match client.post("/api/v1/match", &body) {
            Ok(answer) => {
                let nearest = answer["nearest"].as_str().unwrap_or("?");
                let says = match answer["label"].as_str() {
                    Some(label) => format!("is a {label}"),
                    None => format!("fits no label well; nearest is {nearest}"),
                };
                let text = body["text"].as_str().unwrap_or_default();
                self.say.line(format!("match: \"{text}\" {says}"));
            }
            Err(failure) => self.say.line(format!("match: {failure}")),
        }
    }

    /// Embeds many texts in one request, for the rate.
    fn embed(&mut self, passages: &[Passage]) -> Option<f64> {
        let drawn = self.draw(passages, EMBED_TEXTS);
        let texts: Vec<&str> = drawn.iter().map(|passage| passage.text.as_str()).collect();
        self.say.doing("embedding");
        let began = Instant::now();
        let answer = self.members[0].client.post("/api/v1/embed", &json!({ "texts": texts }));
        let took = began.elapsed().as_secs_f64();
        match answer {
            Ok(answer) if list(&answer, "vectors").len() == texts.len() => {
                let rate = texts.len() as f64 / took;
                self.say.line(format!("embedded {} texts, {rate:.0} texts/s", texts.len()));
                Some(rate)
            }
            Ok(_) => None,
            Err(failure) => {
                self.say.line(format!("embedding: {failure}"));
                None
            }
        }
    }

    fn search_for(&mut self, count: usize, passages: &[Passage]) {
        self.say.doing(&format!("{count} searches"));
        let drawn = self.draw(passages, count);
        let texts: Vec<&str> = drawn.iter().map(|passage| passage.text.as_str()).collect();
        let tally = many(&self.members[0].client, &texts, 10, &|_, _| {});
        self.say.line(format!(
            "{} searches, median {:.1} ms",
            tally.took.len(),
            tally.quantile_ms(0.5).unwrap_or(f64::NAN)
        ));
        self.tally.merge(tally);
    }

    /// The fifth node; it lies unless everybody is honest.
    fn join_fifth(&mut self) -> Outcome<Option<usize>> {
        let lie = self.rng.pick(&Lie::ALONE).copied().unwrap_or(Lie::FlipBit);
        let flag = (!self.args.honest).then(|| format!("{lie}:{}", self.args.seed));
        // One that is honest at first and has something at stake would be believed alone, but for audits:
        // a lie that no audit is drawn for would be paid, and nothing here shall be.
        let stake = if lie == Lie::HonestThenSometimes { 0 } else { LIARS_STAKE };
        let place = self.join("node-5", flag.clone(), stake)?;
        self.wait_connected(4)?;
        let node = self.members[place].node.short();
        let Some(_) = flag else {
            self.say.line(format!("node-5 ({node}) joined; it is honest"));
            return Ok(None);
        };
        self.say.line(format!("node-5 ({node}) joined and lies: {lie}"));
        if stake > 0 {
            let client = self.members[place].client.clone();
            self.until("node-5 has its credits", Duration::from_secs(20), |_| {
                // Refused until it has been let in.
                let Ok(balance) = client.get("/api/v1/ledger/balance") else { return Ok(false) };
                let held = |key: &str| balance[key].as_f64().unwrap_or(0.0);
                Ok(held("balance") + held("incoming") >= stake as f64)
            })?;
            client.post("/api/v1/ledger/stake", &json!({ "credits": stake }))?;
            self.say.line(format!("node-5 stakes {stake} rUv, to be believed"));
        }
        Ok(Some(place))
    }

    /// Imports while the fifth node is there, and gives the pool work until a liar is named: while
    /// there is still somebody outside every task's replicas to do it.
    fn import_beside_liar(
        &mut self,
        passages: &[Passage],
        all: &[Passage],
        liar: Option<usize>,
    ) -> Outcome {
        self.say.step(&format!("importing another {} passages", passages.len()));
        let client = &self.members[0].client;
        let report = import_passages(client, COLLECTION, passages, &mut |_| {})?;
        self.say.line(format!("{} stored", report.stored));
        stored_all(&report.errors, report.failed)?;
        let Some(liar) = liar else { return Ok(()) };
        let began = Instant::now();
        self.say.doing("searching and embedding until the liar is named");
        while !self.is_named(liar) && began.elapsed() < NAMING {
            let drawn = self.draw(all, 256);
            let texts: Vec<&str> = drawn.iter().map(|passage| passage.text.as_str()).collect();
            let client = &self.members[0].client;
            // Only the work matters here; whether it is answered shows in the audit.
            let _ = client.post("/api/v1/embed", &json!({ "texts": texts }));
            let tally = many(client, &texts[..16.min(texts.len())], 10, &|_, _| {});
            self.tally.merge(tally);
        }
        let status = self.members[0].client.get("/api/v1/status").unwrap_or_default();
        let known = names(&status["faulty"], &self.members[liar].node);
        self.say.line(match (self.is_named(liar), known) {
            (true, _) => {
                "node-5 is named a liar: a node that was no replica of that task executed it again"
            }
            (false, true) => "node-5 is named, but by parties of the task only",
            (false, false) => "node-5 was not caught in a lie yet",
        });
        if known {
            self.say_stake(liar);
        }
        Ok(())
    }

    /// Lets a named liar ask for its stake, and says what the witnesses answer.
    fn say_stake(&self, liar: usize) {
        let client = &self.members[liar].client;
        let Ok(balance) = client.get("/api/v1/ledger/balance") else { return };
        let staked = balance["staked"].as_f64().unwrap_or(0.0);
        if staked > 0.0
            && let Err(refusal) =
                client.post("/api/v1/ledger/unstake", &json!({ "credits": staked }))
        {
            self.say.line(format!("node-5 asks for its {staked} rUv back: {}", refusal.why));
        }
    }

    /// Imports the rest while searches go on, and kills a node in the midst of it.
    fn storm(&mut self, rest: &[Passage], passages: &[Passage]) -> Outcome<Storm> {
        self.say.step(&format!("importing the last {} passages while searching", rest.len()));
        let drawn = self.draw(passages, 2_000);
        let texts: Vec<&str> = drawn.iter().map(|passage| passage.text.as_str()).collect();
        let load = Load::default();
        let client = self.members[0].client.clone();
        let (load_ref, client_ref, texts_ref) = (&load, &client, &texts);
        let (storm, imported) = std::thread::scope(|scope| {
            let import = scope.spawn(move || {
                let report = import_passages(client_ref, COLLECTION, rest, &mut |_| {});
                load_ref.import_over.store(true, Ordering::Relaxed);
                report
            });
            for offset in 0..STORM_CALLERS {
                scope.spawn(move || load_ref.search(client_ref, texts_ref, offset));
                // Executions for the kill to meet, also once the import is through.
                scope.spawn(move || load_ref.embed(client_ref, texts_ref, offset));
            }
            let storm = self.kill_until_hit(&load);
            load.stop.store(true, Ordering::Relaxed);
            let imported = import.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (storm, imported)
        });
        let report = imported?;
        let mut storm = storm?;
        let tally = load.tally.into_inner().unwrap_or_else(|p| p.into_inner());
        storm.after_kill = load.after_kill.load(Ordering::Relaxed);
        self.say.line(format!(
            "the import went on to its end: {} stored; {} searches meanwhile",
            report.stored,
            tally.took.len()
        ));
        storm.failures.extend(tally.failed.iter().cloned());
        self.tally.merge(tally);
        stored_all(&report.errors, report.failed)?;
        Ok(storm)
    }

    fn kill_until_hit(&mut self, load: &Load) -> Outcome<Storm> {
        let mut victims: Vec<usize> = (1..4).collect();
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.say.doing("waiting for a node that executes and serves");
            let kill = kill::strike(&self.members, &victims, attempt > 1);
            load.killed.store(true, Ordering::Relaxed);
            load.looking.store(true, Ordering::Relaxed);
            let node = self.members[kill.victim].node;
            let requester = &self.members[0];
            let acknowledged = kill::acknowledged(requester, &node, kill.at);
            let name = self.members[kill.victim].name.clone();
            self.say.line(format!(
                "{name} ({}) is killed by SIGKILL{}",
                node.short(),
                if kill.seen_busy { ", while it executed and served" } else { "" }
            ));
            self.say.doing("looking whether the kill hit");
            let hit = kill::hit(requester, &node, kill.at);
            self.say.line(match (hit.task, hit.search) {
                (true, true) => {
                    "the kill hit: a task it had accepted was never revealed, and a search to its \
                     replica went unanswered"
                }
                (true, false) => "the kill did not hit: every search was answered",
                (false, true) => "the kill did not hit: every accepted task was revealed",
                (false, false) => "the kill did not hit anything",
            });
            if hit.both() || attempt == KILLS_MAX {
                let (after_kill, failures) = (0, Vec::new());
                return Ok(Storm { kill, hit: hit.both(), acknowledged, after_kill, failures });
            }
            self.bring_back(kill.victim)?;
            load.looking.store(false, Ordering::Relaxed);
            // Work needs a moment to find its way there again.
            std::thread::sleep(Duration::from_secs(1));
            victims = vec![kill.victim];
        }
    }

    /// The passages drawn for recall, then more, until there are enough after the kill.
    fn searches_after(&mut self, passages: &[Passage]) -> (Vec<(usize, Vec<RecordId>)>, usize) {
        let order = self.places(passages.len(), SEARCHES_EACH);
        let texts: Vec<&str> = order.iter().map(|at| passages[*at].text.as_str()).collect();
        let queries = RECALL_QUERIES.min(texts.len());
        let answers = Mutex::new(BTreeMap::new());
        let client = self.members[0].client.clone();
        let keep = |at: usize, answer: &Value| {
            let ids = hit_ids(answer);
            answers.lock().unwrap_or_else(|p| p.into_inner()).insert(order[at], ids);
        };
        let recall = many(&client, &texts[..queries], RECALL_K, &keep);
        let rest = many(&client, &texts[queries..], 10, &|_, _| {});
        let count = recall.took.len() + rest.took.len();
        for failure in recall.failed.iter().chain(&rest.failed).take(3) {
            self.say.line(format!("a search failed: {failure}"));
        }
        self.tally.merge(recall);
        self.tally.merge(rest);
        self.say.line(format!("{count} searches without it"));
        let answers = answers.into_inner().unwrap_or_else(|p| p.into_inner());
        (answers.into_iter().collect(), count)
    }

    /// Starts a killed node again and waits until it holds what the others hold.
    fn bring_back(&mut self, victim: usize) -> Outcome {
        let name = self.members[victim].name.clone();
        self.say.doing(&format!("starting {name} again"));
        self.members[victim].restart()?;
        let node = self.members[victim].node;
        self.until(&format!("{name} holds its shards again"), CATCH_UP, |demo| {
            let path = format!("/api/v1/collections/{COLLECTION}");
            let view = demo.members[0].client.get(&path)?;
            let held = list(&view, "shards").iter().all(|shard| {
                let seq = shard["seq"].as_u64();
                let own = list(shard, "replicas")
                    .iter()
                    .find(|replica| node_of(&replica["node"]) == Some(node));
                own.is_none_or(|own| own["reachable"] == true && own["seq"].as_u64() >= seq)
            });
            Ok(held)
        })?;
        self.say.line(format!("{name} was started again and is up to date"));
        Ok(())
    }

    /// Whether somebody who was neither requester nor replica verified a fault of the liar.
    fn is_named(&self, liar: usize) -> bool {
        let node = self.members[liar].node;
        let independent = |event: &Value| {
            event["event"] == "fault_verified"
                && node_of(&event["node"]) == Some(node)
                && event["was_replica"] == false
                && event["was_requester"] == false
        };
        let others = self.members.iter().enumerate().filter(|(at, _)| *at != liar && *at != 0);
        others.into_iter().any(|(_, member)| {
            member.watch.lock().events.iter().any(|(_, event)| independent(event))
        })
    }

    fn say_shards(&self) {
        let path = format!("/api/v1/collections/{COLLECTION}");
        let Ok(view) = self.members[0].client.get(&path) else { return };
        let shards: Vec<String> = list(&view, "shards")
            .iter()
            .map(|shard| {
                format!("{} rows on {} nodes", shard["rows"], list(shard, "replicas").len())
            })
            .collect();
        self.say.line(format!("shards: {}", shards.join("; ")));
    }

    fn say_state(&self) {
        let Ok(status) = self.members[0].client.get("/api/v1/status") else { return };
        for note in list(&status, "notes") {
            if let Some(note) = note.as_str() {
                self.say.line(format!("node-1 notes: {note}"));
            }
        }
    }

    /// Bytes from node to node: the larger of what the two ends counted.
    fn matrix(&self) -> Matrix {
        let mut matrix = Matrix::new();
        let place = |node: NodeId| self.members.iter().position(|member| member.node == node);
        for (at, member) in self.members.iter().enumerate() {
            let Ok(answer) = member.client.get("/api/v1/peers") else { continue };
            for peer in list(&answer, "peers") {
                let Some(other) = node_of(&peer["node"]).and_then(place) else { continue };
                let mut count = |from, to, field: &str| {
                    if let Some(bytes) = peer[field].as_u64() {
                        let cell = matrix.entry((from, to)).or_insert(0);
                        *cell = (*cell).max(bytes);
                    }
                };
                count(at, other, "sent_bytes");
                count(other, at, "received_bytes");
            }
        }
        matrix
    }

    /// Pays what is owed, so that vouchers and settlements can be compared.
    fn settle(&self) {
        self.say.doing("settling");
        if let Err(failure) = self.members[0].client.post("/api/v1/ledger/settle", &json!({})) {
            self.say.line(format!("settling: {failure}"));
        }
    }

    fn stop(&mut self) {
        self.say.step("stopping the nodes");
        // The requester first: it settles, and the witnesses must still be there for that.
        for members in [0..1, 1..self.members.len()] {
            self.members[members.clone()].iter().for_each(Member::ask_to_stop);
            for member in &mut self.members[members] {
                if !member.wait_stopped() {
                    self.say.line(format!("{} had to be killed", member.name));
                }
            }
        }
    }

    fn subjects(&self, liar: Option<usize>) -> Vec<audit::Subject> {
        let subject = |(at, member): (usize, &Member)| audit::Subject {
            name: member.name.clone(),
            node: member.node,
            folder: member.folder.clone(),
            liar: Some(at) == liar,
        };
        self.members.iter().enumerate().map(subject).collect()
    }

    /// Places drawn without repetition, as far as there are enough.
    fn places(&mut self, from: usize, count: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (0..from).collect();
        self.rng.shuffle(&mut places);
        let short = count.saturating_sub(from).min(count);
        places.truncate(count);
        // A small folder is asked about more than once.
        for n in 0..short {
            places.push(places[n % from.max(1)]);
        }
        places
    }

    fn draw<'p>(&mut self, passages: &'p [Passage], count: usize) -> Vec<&'p Passage> {
        let places = self.places(passages.len(), count);
        places.into_iter().map(|at| &passages[at]).collect()
    }
}

/// What is under way while a node is killed.
#[derive(Debug, Default)]
struct Load {
    stop: AtomicBool,
    killed: AtomicBool,
    looking: AtomicBool,
    import_over: AtomicBool,
    after_kill: AtomicUsize,
    tally: Mutex<Tally>,
}

impl Load {
    fn search(&self, client: &crate::client::Client, texts: &[&str], offset: usize) {
        let mut tally = Tally::default();
        for text in texts.iter().cycle().skip(offset * 997) {
            let over =
                self.stop.load(Ordering::Relaxed) && self.import_over.load(Ordering::Relaxed);
            if over {
                break;
            }
            let killed = self.killed.load(Ordering::Relaxed);
            let began = Instant::now();
            match search(client, text, 10) {
                Ok(answer) => {
                    tally.take(&answer, began.elapsed());
                    self.after_kill.fetch_add(usize::from(killed), Ordering::Relaxed);
                }
                Err(failure) => tally.failed.push(failure.to_string()),
            }
        }
        self.tally.lock().unwrap_or_else(|p| p.into_inner()).merge(tally);
    }

    /// Embeds passages, for executions besides those of the import.
    fn embed(&self, client: &crate::client::Client, texts: &[&str], offset: usize) {
        // As many tasks at once as a job has in flight: each is over in milliseconds, so that of few
        // none may be open when the kill arrives.
        for group in texts.chunks(512).cycle().skip(offset) {
            // Not while it is looked whether the kill hit.
            while self.looking.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            // Only the work matters here; whether it is answered shows in the audit.
            let _ = client.post("/api/v1/embed", &json!({ "texts": group }));
        }
    }
}

/// What the kill did.
struct Storm {
    kill: Kill,
    hit: bool,
    acknowledged: BTreeMap<ShardId, u64>,
    after_kill: usize,
    failures: Vec<String>,
}

/// What was asked for and does not hold becomes a complaint.
fn judge(summary: &mut Summary, storm: &Storm, passages: usize) {
    let found = &mut summary.found;
    let missing = found.victim_unrevealed == 0 || found.victim_unanswered == 0;
    let mut complain = |holds: bool, why: String| {
        if !holds {
            found.complaints.push(why);
        }
    };
    complain(storm.hit, format!("none of {KILLS_MAX} kills hit"));
    complain(
        !storm.hit || !missing,
        "the requester's records do not show that the kill hit".into(),
    );
    for failure in storm.failures.iter().take(3) {
        complain(false, format!("a search failed meanwhile: {failure}"));
    }
    let (documents, held, acknowledged) =
        (found.documents, found.batches_held, found.batches_acknowledged);
    let (executed, own) = (found.worker_executions, found.requester_executions);
    let (named, paid, conserved) = (
        found.named.clone(),
        found.paid_for_lies,
        found.sums.as_ref().is_some_and(fold::Sums::conserved),
    );
    let promised: Vec<NodeId> =
        found.promised.iter().filter(|(_, amount)| **amount > 0).map(|(node, _)| *node).collect();
    let mut complain = |holds: bool, why: String| {
        if !holds {
            found.complaints.push(why);
        }
    };
    complain(documents == passages as u64, format!("{documents} of {passages} are in the log"));
    complain(
        held == acknowledged,
        format!("{held} of {acknowledged} acknowledged batches are held"),
    );
    complain(conserved, "credits are not conserved".to_owned());
    complain(paid == 0, format!("lies were paid {paid} millionths of a rUv"));
    let all = executed + own;
    complain(own * 20 <= all, format!("{own} of {all} executions are the requester's own"));
    match summary.liar {
        Some(liar) => {
            let liar = summary.nodes[liar].1;
            complain(
                named.len() == 1 && named.contains(&liar),
                "not the liar alone is named".into(),
            );
        }
        None => complain(named.is_empty(), "somebody honest is named".to_owned()),
    }
    for worker in promised {
        let place = summary.nodes.iter().position(|(_, node)| *node == worker);
        let talked = place
            .is_some_and(|place| summary.matrix.get(&(place, 0)).is_some_and(|bytes| *bytes > 0));
        complain(talked, format!("{} is paid and sent nothing to the requester", worker.short()));
    }
}

fn stored_all(errors: &[String], failed: u64) -> Outcome {
    if failed == 0 {
        return Ok(());
    }
    let why = errors.first().cloned().unwrap_or_default();
    let next = "run it again with --keep and look at node-1.log";
    Err(Failure::failed(format!("{failed} passages were not stored"), why, next))
}

/// The documents to index, and where they come from.
fn read_documents(args: &args::Demo) -> Outcome<(Documents, String)> {
    let next = "give a folder of text, Markdown, source code or JSON Lines with --docs";
    let (documents, source) = match &args.docs {
        Some(path) => {
            let read = Documents::read(path, args.max_documents).map_err(|error| {
                let what = format!("{} cannot be read", path.display());
                Failure::new(Exit::NotFound, what, error, next)
            })?;
            (read, path.display().to_string())
        }
        None => {
            let home = corpus::cargo_home();
            let folders = home.map(|home| corpus::registry_folders(&home)).unwrap_or_default();
            let corpus = Corpus::read(&folders, &locked_packages(), args.max_documents);
            let (found, missing) = (corpus.packages, corpus.missing);
            let source = match missing {
                0 => format!("{found} packages"),
                _ => format!("{found} packages ({missing} more are not on this machine)"),
            };
            (corpus.documents, source)
        }
    };
    if documents.passages.len() < 2 {
        let why = match &args.docs {
            _ if args.max_documents < 2 => {
                "there is nothing to find in fewer than two: raise --max-documents".to_owned()
            }
            Some(_) => format!("{source} holds no passages of 5 tokens or more"),
            None => "no package of the lock file lies in CARGO_HOME's registry".to_owned(),
        };
        return Err(Failure::new(Exit::NotFound, "there are no documents", why, next));
    }
    Ok((documents, source))
}

/// Recall of the answers against a scan of all passages, whose vectors are made here.
fn recall(passages: &[Passage], answers: &[(usize, Vec<RecordId>)]) -> Option<f64> {
    let model = StaticModel::builtin();
    let dim = model.dim();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let chunk = passages.len().div_ceil(threads).max(1);
    let parts: Option<Vec<Vec<f32>>> = std::thread::scope(|scope| {
        let work = |part: &[Passage]| {
            let texts: Vec<&str> = part.iter().map(|passage| passage.text.as_str()).collect();
            let mut rows = Vec::new();
            model.embed(&texts, &mut rows).ok().map(|()| rows)
        };
        let threads: Vec<_> =
            passages.chunks(chunk).map(|part| scope.spawn(move || work(part))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let ids: Vec<RecordId> = passages.iter().map(|passage| passage.id).collect();
    recall::recall_at_10(&ids, &parts?.concat(), dim, answers)
}
