//! Nodes as processes of their own, which end when this process ends, however it ends.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use edge_base::NodeId;
use serde_json::json;

use super::events::Watch;
use crate::{
    client::Client,
    failure::{Exit, Failure, Outcome},
};

/// How long a node may take to answer.
const START: Duration = Duration::from_secs(20);
/// How long a node may take to end once it was asked to.
const STOP: Duration = Duration::from_secs(15);

/// Every process that was started, for the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family(Arc<Mutex<Vec<Arc<Mutex<Child>>>>>);

impl Family {
    fn adopt(&self, child: Child) -> Arc<Mutex<Child>> {
        let child = Arc::new(Mutex::new(child));
        lock(&self.0).push(Arc::clone(&child));
        child
    }

    /// Kills whatever still runs and waits until it is gone.
    pub(crate) fn kill_all(&self) {
        for child in lock(&self.0).iter() {
            let mut child = lock(child);
            // Already ended is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// One node.
#[derive(Debug)]
pub(crate) struct Member {
    /// `node-2`.
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) node: NodeId,
    pub(crate) client: Client,
    pub(crate) watch: Watch,
    lie: Option<String>,
    family: Family,
    child: Arc<Mutex<Child>>,
    /// Held open: the node ends when it is closed.
    lifeline: Option<ChildStdin>,
}

impl Member {
    /// Starts a node in a new folder below `root` and waits until it answers.
    pub(crate) fn start(
        root: &Path,
        name: &str,
        family: &Family,
        ticket: Option<&str>,
        lie: Option<String>,
    ) -> Outcome<Member> {
        let folder = root.join(name);
        let (child, lifeline) = spawn(root, &folder, ticket, lie.as_deref())?;
        let child = family.adopt(child);
        let (node, client) = answering(&folder, &child, root, name)?;
        let watch = Watch::default();
        watch.follow(&client)?;
        Ok(Member {
            name: name.to_owned(),
            folder,
            node,
            client,
            watch,
            lie,
            family: family.clone(),
            child,
            lifeline: Some(lifeline),
        })
    }

    /// SIGKILL. The node gets no chance to say or store anything.
    pub(crate) fn kill(&self) {
        let mut child = lock(&self.child);
        // It may have ended in this very moment.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts the node again on its folder.
    pub(crate) fn restart(&mut self) -> Outcome {
        let root = self.folder.parent().unwrap_or(&self.folder).to_owned();
        let (child, lifeline) = spawn(&root, &self.folder, None, self.lie.as_deref())?;
        self.child = self.family.adopt(child);
        self.lifeline = Some(lifeline);
        let (_, client) = answering(&self.folder, &self.child, &root, &self.name)?;
        self.client = client;
        self.watch.follow(&self.client)
    }

    /// Whether its process runs.
    pub(crate) fn runs(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// Asks the node to end.
    pub(crate) fn ask_to_stop(&self) {
        // One that does not answer is ended below.
        let _ = self.client.post("/api/v1/stop", &json!({}));
    }

    /// Waits until the node has ended; kills it when it takes too long.
    pub(crate) fn wait_stopped(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < STOP {
            if !self.runs() {
                self.lifeline = None;
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        self.lifeline = None;
        false
    }
}

fn spawn(
    root: &Path,
    folder: &Path,
    ticket: Option<&str>,
    lie: Option<&str>,
) -> Outcome<(Child, ChildStdin)> {
    let name = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let failed = |why: &dyn std::fmt::Display| {
        Failure::failed(format!("{name} did not start"), why, "close other programs and try again")
    };
    // The user's own settings are not meant for these nodes.
    let settings = root.join("settings.toml");
    File::create(&settings).map_err(|error| failed(&error))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(root.join(format!("{name}.log")))
        .map_err(|error| failed(&error))?;
    let out = log.try_clone().map_err(|error| failed(&error))?;
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(&settings)
        .arg("--data-dir")
        .arg(folder)
        .args(["start", "--port", "0", "--no-mdns"])
        // For nodes, and for tabs of a browser. A node takes the ports of its last run again.
        .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/tcp/0/ws"])
        .args(["--cpu", "100%", "--log", "warn", "--test-pool", "--exit-with-parent"])
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(log);
    if let Some(ticket) = ticket {
        command.args(["--join", ticket]);
    }
    if let Some(lie) = lie {
        command.args(["--lie", lie]);
    }
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("EDGE_NET_") {
            command.env_remove(&variable);
        }
    }
    #[cfg(unix)]
    {
        // Ctrl-C is for the parent, which ends them in order.
        use std::os::unix::process::CommandExt as _;
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let lifeline = child.stdin.take().ok_or_else(|| failed(&"it has no standard input"))?;
    Ok((child, lifeline))
}

/// Waits until the node on a folder answers over HTTP.
fn answering(
    folder: &Path,
    child: &Arc<Mutex<Child>>,
    root: &Path,
    name: &str,
) -> Outcome<(NodeId, Client)> {
    let began = Instant::now();
    let pid = lock(child).id();
    loop {
        let note = edge_node::folder::read_api_note(folder).filter(|note| note.pid == pid);
        if let Some(note) = note
            && let Some(node) = NodeId::from_hex(&note.node)
        {
            let client = Client::new(&note.url, None, Some(Duration::from_secs(60)));
            if client.is_up("/healthz") {
                return Ok((node, client));
            }
        }
        let ended = lock(child).try_wait().ok().flatten();
        if ended.is_some() || began.elapsed() > START {
            let log = root.join(format!("{name}.log"));
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(5).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join(" | ");
            let why = match ended {
                Some(status) => format!("it ended with {status}: {tail}"),
                None => format!("no answer within {} s: {tail}", START.as_secs()),
            };
            let next = "run `edge-net start` by hand to see more";
            return Err(Failure::new(Exit::Failed, format!("{name} did not start"), why, next));
        }
        std::thread::sleep(Duration::from_millis(15));
    }
}
