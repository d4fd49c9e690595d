//! `start`, `stop`, `status` and `peer ls`.

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use edge_base::NetworkTag;
use edge_node::{
    Ended, Found, Node, NodeError, NodeOptions, StartMode,
    config::{Config, Origin, Port},
    folder::{self, FolderError},
    lifeline::{self, Lifeline},
    logging,
    store::StoreError,
};
use edge_swarm::Answer;
use edge_tasks::Lie;
use serde_json::{Value, json};

use super::{Context, bad_settings, identity, list, node_name, short, text};
use crate::{
    args::Start,
    failure::{Exit, Failure, Outcome},
    output::Output,
};

/// How long a node may take to finish what it promised.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// How long a node whose key was replaced stays, so that its caller and other members hear of it.
const LEAVE_ROTATED: Duration = Duration::from_millis(500);
/// How long the start of a node under its new key is tried.
const START_AGAIN: Duration = Duration::from_secs(15);
/// Ports above the one before that a node started again may take if somebody else has that now.
const PORTS_NEAR: u16 = 20;
/// How long a node in the background may take to answer.
const DETACHED_START: Duration = Duration::from_secs(30);

pub(super) fn start(context: &Context, start: &Start) -> Outcome {
    let mut flags = Vec::new();
    let mut flag = |key: &str, value: String| flags.push((key.to_owned(), value));
    if let Some(port) = start.port {
        flag("port", port.to_string());
    }
    if !start.listen.is_empty() {
        flag("listen", start.listen.join(","));
    }
    if !start.bootstrap.is_empty() {
        flag("bootstrap", start.bootstrap.join(","));
    }
    if let Some(share) = &start.cpu {
        flag("cpu", share.clone());
        flag("cpu-idle", share.clone());
    }
    if start.no_worker {
        flag("works", "false".to_owned());
    }
    if start.no_mdns {
        flag("mdns", "false".to_owned());
    }
    if let Some(filter) = &start.log {
        flag("log", filter.clone());
    }
    let config = context.config(flags)?;
    if start.detach {
        return detach(context, &config);
    }
    let mode = mode(start)?;
    let lie = start.lie.as_deref().map(lie).transpose()?;
    let options = NodeOptions { lie, moved: start.moved };
    logging::start(&config).map_err(|error| bad_settings(&error))?;
    let lifeline = start.exit_with_parent.then(Lifeline::hold);
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Failure::failed("the node did not start", error, "close other programs and try again")
    })?;
    runtime.block_on(run(context, config, mode, options, lifeline))
}

async fn run(
    context: &Context,
    config: Config,
    mode: StartMode,
    options: NodeOptions,
    lifeline: Option<Lifeline>,
) -> Outcome {
    let mut stop = std::pin::pin!(lifeline::stop_requested(lifeline));
    let (mut config, mut mode, mut options, mut again) = (config, mode, options, false);
    // Once more under each new key.
    while let Some(port) =
        once(context, config.clone(), mode, options, stop.as_mut(), again).await?
    {
        (mode, options.moved, again) = (StartMode::Resume, false, true);
        if config.port == Port::Exactly(0) {
            // Callers know where it is.
            config.port = Port::FirstFree { from: port, to: port.saturating_add(PORTS_NEAR) };
        }
    }
    Ok(())
}

/// Runs a node until it is stopped, or until a new key takes the place of its own: then the port that its HTTP
/// interface had.
async fn once(
    context: &Context,
    config: Config,
    mode: StartMode,
    options: NodeOptions,
    stop: impl Future<Output = &'static str>,
    again: bool,
) -> Outcome<Option<u16>> {
    let (mut entered, computing) = (entered(&config, &mode), computing(&config));
    let unserved = |error: edge_api::ApiError| {
        Failure::failed(
            "the HTTP interface did not start",
            error,
            "choose another port with --port, or 0 for any free one",
        )
    };
    let early = match edge_api::Listening::at(&config).await {
        Ok(listening) => Some(listening),
        // A node that runs in this folder is the reason to tell, and starting says so; one that ends leaves soon.
        Err(_) if again || !folder::is_free(&config.data_dir) => None,
        Err(error) => return Err(unserved(error)),
    };
    let began = Instant::now();
    let node = loop {
        match Node::start_with(config.clone(), mode.clone(), options).await {
            Ok(node) => break node,
            // Callers of the node before may hold its database a moment longer.
            Err(error) if again && began.elapsed() < START_AGAIN => {
                tracing::debug!(%error, "not yet");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(not_started(&error)),
        }
    };
    let listening = match early {
        Some(listening) => Ok(listening),
        None => edge_api::Listening::at(&config).await,
    };
    let server = match listening.and_then(|listening| listening.serve(node.clone())) {
        Ok(server) => server,
        Err(error) => {
            // Why the interface is missing matters more than how the node went down.
            let _ = node.shutdown(SHUTDOWN).await;
            return Err(unserved(error));
        }
    };
    // A folder whose node was never let in is there as well.
    if let Ok(Answer::Status(status)) = node.call(edge_swarm::Command::Status).await
        && status.witnesses == 0
    {
        entered = "joining";
    }
    let ticket_kept = entered == "resumed" && matches!(mode, StartMode::Join(_));
    let started = json!({
        "schema": "edge-net.started/1",
        "node": node.node().to_hex(),
        "pool": node.pool().to_hex(),
        "entered": entered,
        "ticket_kept": ticket_kept,
        "computing": computing,
        "api": server.url(),
        "addresses": node.addresses(),
        "data_dir": node.config().data_dir,
        "pid": std::process::id(),
    });
    // Nobody may be listening any more when this is printed: the node runs on.
    let context = Context { output: context.output.staying(), global: context.global.clone() };
    if again {
        tracing::info!(node = %node.node().short(), api = server.url(), "runs under its new key");
    } else {
        context.show(&started, show_started);
    }
    let mut rotated = false;
    let ended: Ended = tokio::select! {
        why = stop => {
            tracing::info!(why, "stopping");
            node.shutdown(SHUTDOWN).await
        }
        () = server.stop_requested() => node.shutdown(SHUTDOWN).await,
        heir = node.wait_rotated() => {
            tracing::info!(heir = %heir.short(), "this node's key was replaced: starting again");
            // The caller that asked for it is answered, and members are told.
            tokio::time::sleep(LEAVE_ROTATED).await;
            let ended = node.shutdown(SHUTDOWN).await;
            // Who asked meanwhile that the node end did not ask for another one.
            rotated = !server.is_stop_requested();
            ended
        }
        ended = node.wait_ended() => ended,
    };
    ended.map(|()| rotated.then_some(server.port())).map_err(|reason| {
        Failure::failed("the node stopped by itself", reason, "start it again once that is mended")
    })
}

/// How a node comes to its pool: `founded`, `resumed` or `joining`.
fn entered(config: &Config, mode: &StartMode) -> &'static str {
    let folder = &config.data_dir;
    let bound = folder::read_identity(folder).ok().flatten();
    let bound = bound.is_some_and(|(identity, _)| identity.network() != NetworkTag::UNBOUND);
    match mode {
        _ if bound && folder.join("pool.redb").exists() => "resumed",
        StartMode::Join(_) => "joining",
        _ => "founded",
    }
}

/// What is computed for others, how much, and who said so.
fn computing(config: &Config) -> String {
    let from = |key: &str| {
        let origin = config.origins().find(|s| s.key == key).map_or(Origin::Default, |s| s.origin);
        match origin {
            Origin::Default => "by default".to_owned(),
            other => format!("set by {other}"),
        }
    };
    if !config.works {
        return format!("nothing for others ({})", from("works"));
    }
    let percent = |share: edge_node::config::Percent| f64::from(share.per_mille()) / 10.0;
    let (cpu, idle) = (percent(config.cpu), percent(config.cpu_idle));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let of = if cores == 1 { "the core".to_owned() } else { format!("{cores} cores") };
    let from = from("cpu");
    if cpu == idle {
        return format!("up to {cpu}% of {of} ({from})");
    }
    let minutes = config.idle.as_secs_f64() / 60.0;
    format!("up to {cpu}% of {of}, {idle}% after {minutes:.0} minutes without input ({from})")
}

fn show_started(output: &Output, started: &Value) {
    let how = if started["log"].is_null() { "" } else { " in the background" };
    let node = output.bold(&node_name(&started["node"]));
    output.line(format!("{node} runs{how}; HTTP at {}", text(started, "api")));
    if output.quiet {
        return;
    }
    let pool = short(&text(started, "pool"));
    let joining = started["entered"] == "joining";
    output.line(match started["entered"].as_str() {
        Some("founded") => format!("  founded    pool {pool}"),
        Some("joining") => {
            format!("  joining    pool {pool}: `edge-net status` says when a member let it in")
        }
        _ => format!("  resumed    pool {pool}"),
    });
    if started["ticket_kept"] == true {
        output.line("  ticket     not used: this node is a member of the pool already");
    }
    output.line(format!("  computing  {}", text(started, "computing")));
    output.line(format!("  data       {}", text(started, "data_dir")));
    if started["log"].is_string() {
        output.line(format!("  log        {}", text(started, "log")));
    }
    if !joining {
        output.line("  invite     edge-net identity invite");
    }
    let stop = if how.is_empty() { "Ctrl-C, or edge-net stop" } else { "edge-net stop" };
    output.line(format!("  stop       {stop}"));
}

fn mode(start: &Start) -> Outcome<StartMode> {
    if let Some(ticket) = &start.join {
        return ticket.parse().map(StartMode::Join).map_err(|error| {
            let next = "make one on a member with `edge-net identity invite`";
            Failure::new(Exit::Usage, "this is no ticket", error, next)
        });
    }
    let mut found = Found::default();
    if start.test_pool {
        found.network = edge_ledger::Network::Test;
    }
    Ok(StartMode::ResumeOrFound(found))
}

fn lie(text: &str) -> Outcome<(Lie, u64)> {
    let parsed = text
        .split_once(':')
        .and_then(|(kind, seed)| Some((kind.parse::<Lie>().ok()?, seed.parse().ok()?)));
    parsed.ok_or_else(|| {
        let next = "for example --lie flip-bit:1";
        Failure::new(Exit::Usage, format!("{text:?} is no lie"), "KIND:SEED is expected", next)
    })
}

/// Why a node did not start.
fn not_started(error: &NodeError) -> Failure {
    let what = "the node did not start";
    match error {
        NodeError::Folder(folder @ FolderError::InUse { .. }) => {
            Failure { what: what.to_owned(), ..identity::of_folder(folder) }
        }
        NodeError::OtherPool { .. } => Failure::new(
            Exit::Refused,
            "pools do not merge",
            error,
            "start a second node: edge-net --data-dir OTHER_FOLDER start --join TICKET",
        ),
        NodeError::HeirGone { .. } => Failure::new(
            Exit::Refused,
            "the node did not start",
            error,
            "restore that file, or, from a backup of the new identity, into an empty --data-dir, and join \
             with a ticket; the present key is given up and is heard nowhere",
        ),
        NodeError::PoolGone { .. } => Failure::new(
            Exit::Refused,
            what,
            error,
            "put the folder's pool.redb back; or enter the pool again with a ticket of a member: \
             edge-net start --join TICKET; or found a new pool elsewhere: --data-dir OTHER_FOLDER",
        ),
        NodeError::Store(StoreError::Copied { .. }) => Failure::new(
            Exit::Refused,
            "the node did not start: its data folder looks like a copy",
            error,
            "start the original; or, if it was moved or restored and the original never runs again: \
             edge-net start --moved (needed once; see `edge-net start --help`)",
        ),
        NodeError::Store(StoreError::NoIdentity { .. } | StoreError::OtherIdentity { .. }) => {
            let next = "put that node's `identity` back, or restore it from a backup with `edge-net \
                        identity import`; for a new node name another folder with --data-dir";
            Failure::new(Exit::Refused, what, error, next)
        }
        NodeError::Transport(_) => {
            Failure::failed(what, error, "choose other addresses with --listen")
        }
        NodeError::Store(_) | NodeError::Folder(_) => {
            Failure::failed(what, error, "check the data folder, or name another with --data-dir")
        }
        _ => Failure::failed(what, error, "`edge-net config show --origin` says what it ran with"),
    }
}

/// Starts this very command again without `--detach`, and waits for the object that it prints.
fn detach(context: &Context, config: &Config) -> Outcome {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::failed("the node did not start", why, "run it without --detach to see more")
    };
    folder::create(&config.data_dir).map_err(|error| failed(&error))?;
    let log = config.data_dir.join("node.log");
    let file =
        OpenOptions::new().create(true).append(true).open(&log).map_err(|error| failed(&error))?;
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
    if !context.output.json {
        command.arg("--json");
    }
    #[cfg(unix)]
    {
        // Ctrl-C in this terminal is not meant for the node.
        use std::os::unix::process::CommandExt as _;
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let stdout = child.stdout.take().expect("invariant: the child's output is piped");
    let (sender, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // Without a line it ended without a word.
        let _ = BufReader::new(stdout).read_line(&mut line);
        // Nobody waits after the limit.
        let _ = sender.send(line);
    });
    let Ok(line) = said.recv_timeout(DETACHED_START) else {
        let why = format!("it does not answer; see {}", log.display());
        let next = "ask it with `edge-net status`, or end it with `edge-net stop`";
        return Err(Failure::new(Exit::TimedOut, "the node is slow to start", why, next));
    };
    let mut answer: Value = serde_json::from_str(&line).unwrap_or_default();
    if let Some(failure) = Failure::from_json(&answer) {
        return Err(failure);
    }
    if answer["schema"] != "edge-net.started/1" {
        let status = child.wait().map_err(|error| failed(&error))?;
        return Err(failed(&format!("it ended with {status}; see the end of {}", log.display())));
    }
    let log = config.log_file.clone().unwrap_or(log);
    answer["log"] = json!(log);
    context.show(&answer, show_started);
    Ok(())
}

pub(super) fn stop(context: &Context) -> Outcome {
    let client = context.client()?;
    // A node named by --api may be elsewhere: then its folder cannot be watched.
    let folder = context.config(Vec::new())?.data_dir;
    let here = folder::read_api_note(&folder).is_some_and(|note| note.url == client.base());
    let answer = client.post("/api/v1/stop", &json!({}))?;
    let began = Instant::now();
    while client.is_up("/healthz") || here && !folder::is_free(&folder) {
        if began.elapsed() > SHUTDOWN + Duration::from_secs(5) {
            let why = "it does not finish what it promised";
            let next = "wait, or end its process";
            return Err(Failure::new(Exit::TimedOut, "the node still runs", why, next));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    context.show(&answer, |output, _| output.line("stopped"));
    Ok(())
}

pub(super) fn status(context: &Context) -> Outcome {
    let client = context.client()?;
    let answer = client.get("/api/v1/status")?;
    context.show(&answer, |output, answer| show_status(output, answer, client.base()));
    Ok(())
}

fn show_status(output: &Output, status: &Value, api: &str) {
    let line = |label: &str, value: String| output.line(format!("{label:>10}  {value}"));
    output.line(format!("{} at {api}", output.bold(&node_name(&status["node"]))));
    if status["revoked"] == true {
        line("key", output.red("REVOKED: nobody hears this node any more"));
    }
    if output.quiet {
        return;
    }
    line(
        "pool",
        match &status["founder"] {
            Value::Null => format!("{}, not entered yet", short(&text(status, "pool"))),
            founder => {
                format!("{}, founded by {}", short(&text(status, "pool")), node_name(founder))
            }
        },
    );
    line(
        "members",
        format!("{} known, {} connected", text(status, "members"), text(status, "connected")),
    );
    let (voting, quorum) = (&status["witnesses_voting"], &status["quorum"]);
    let slack = match (voting.as_u64(), quorum.as_u64()) {
        (voting, quorum) if voting < quorum => output.red(": payments wait"),
        (voting, quorum) if voting == quorum && status["witnesses"] != status["quorum"] => {
            ": no slack".to_owned()
        }
        _ => String::new(),
    };
    line(
        "witnesses",
        format!(
            "{} of {} reachable, {voting} vote, {quorum} needed{slack}",
            text(status, "witnesses_reachable"),
            text(status, "witnesses")
        ),
    );
    let balance = &status["balance"];
    let incoming = match text(balance, "incoming") {
        none if none.parse() == Ok(0.0) => String::new(),
        some => format!(" and {some} certified for it, entered with its next payment"),
    };
    line("balance", format!("{} rUv{incoming}", text(balance, "balance")));
    let pending = &balance["pending"];
    if pending.is_object() {
        line(
            "pending",
            format!(
                "{}: {} of {} votes (`edge-net ledger balance`)",
                text(pending, "text"),
                text(pending, "votes"),
                text(pending, "quorum")
            ),
        );
    }
    if status["certificates_dropped"].as_u64().is_some_and(|dropped| dropped > 0) {
        let (kept, dropped) = (text(status, "certificates"), text(status, "certificates_dropped"));
        let both = format!("{kept} certificates kept, {dropped} blocks in a checkpoint alone");
        line("ledger", both);
    }
    line(
        "own tasks",
        format!(
            "{} verified, {} failed, {} running; {} results rejected",
            text(status, "tasks_verified"),
            text(status, "tasks_failed"),
            text(status, "own_tasks"),
            text(status, "results_rejected"),
        ),
    );
    line(
        "for others",
        format!(
            "{} executed, {} now",
            text(status, "executed_for_others"),
            text(status, "working")
        ),
    );
    let faulty: Vec<String> = list(status, "faulty").iter().map(node_name).collect();
    if !faulty.is_empty() {
        line("faulty", output.red(&faulty.join(", ")));
    }
    for note in list(status, "notes") {
        line("note", super::plain(note));
    }
}

pub(super) fn peers(context: &Context) -> Outcome {
    let answer = context.client()?.get("/api/v1/peers")?;
    context.show(&answer, |output, answer| {
        let flag = |value: &Value, name: &str| {
            if *value == true { name.to_owned() } else { String::new() }
        };
        let rows: Vec<Vec<String>> = list(answer, "peers")
            .iter()
            .map(|peer| {
                let roles = [
                    flag(&peer["witness"], "witness"),
                    flag(&peer["same_owner"], "yours"),
                    if peer["faults"].as_u64() > Some(0) { "faulty".into() } else { String::new() },
                    if peer["banned"].is_null() { String::new() } else { "banned".into() },
                    match peer["replaced_by"].as_str() {
                        Some(heir) => format!("replaced by {}", node_name(&heir.into())),
                        None => flag(&peer["revoked"], "revoked"),
                    },
                    if peer["limited"].as_u64() > Some(0) {
                        "limited".into()
                    } else {
                        String::new()
                    },
                ];
                let roles = roles.into_iter().filter(|r| !r.is_empty()).collect::<Vec<_>>();
                let bytes = |field: &str| peer[field].as_u64().map_or("-".into(), human_bytes);
                vec![
                    text(peer, "node"),
                    text(peer, "connected"),
                    roles.join(" "),
                    text(peer, "checked"),
                    peer["reliability"].as_f64().map_or("-".into(), |share| format!("{share:.2}")),
                    text(peer, "stake"),
                    text(peer, "load"),
                    bytes("sent_bytes"),
                    bytes("received_bytes"),
                ]
            })
            .collect();
        if rows.is_empty() {
            output.line("no other members; make a ticket with `edge-net identity invite`");
        } else {
            let heading = [
                "NODE",
                "CONNECTED",
                "ROLES",
                "CHECKED",
                "RELIABLE",
                "STAKE",
                "LOAD",
                "SENT",
                "RECEIVED",
            ];
            output.table(&heading, &rows);
        }
    });
    Ok(())
}

/// Bytes for people.
pub(crate) fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
