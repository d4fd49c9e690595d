//! The main job over the link, by the command line alone: join, import, search, match, mDNS.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::world::{Host, World};
use crate::environment;
use crate::process;
use crate::stages::Outcome;

/// What has to be there before the drive makes sense.
const COMMANDS: &[&[&str]] = &[
    &["start"],
    &["stop"],
    &["status"],
    &["identity", "invite"],
    &["peer", "ls"],
    &["collection", "import"],
    &["search"],
    &["match"],
];
const PATIENCE: Duration = Duration::from_secs(60);
const COLLECTION: &str = "notes";

/// Documents with nothing in common, so that the right answer is beyond doubt.
const DOCUMENTS: &[(&str, &str)] = &[
    ("bread.txt", "Knead the dough for ten minutes, let it rise for an hour, then bake the bread."),
    ("tcp.txt", "Set a read timeout on a TCP connection before waiting for data from the network."),
    ("tide.txt", "The tide rises and falls twice a day because of the pull of the moon."),
    ("piano.txt", "Practise scales on the piano slowly with both hands before playing faster."),
    ("bees.txt", "Honey bees dance in the hive to show the others where the flowers are."),
    ("glacier.txt", "A glacier carves a valley as the ice moves downhill over thousands of years."),
];

/// A node on a host, with a folder of its own for everything it keeps.
struct Node<'a> {
    host: &'a Host,
    program: &'a Path,
    home: PathBuf,
    child: Option<Child>,
}

/// Does the main job; says so where the program lacks a command it needs.
pub(super) fn drive(world: &mut World) -> Result<Outcome> {
    let program = environment::built("edge-net");
    if let Some(reason) = lacking(&program) {
        return Ok(Outcome::NotRun(reason));
    }
    let folder = std::env::temp_dir().join(format!("edge-net-netns-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = main_job(world, &program, &folder).and_then(|note| {
        let found = by_mdns(world, &program, &folder)?;
        Ok(Outcome::Passed(format!("{note}; {found}")))
    });
    if result.is_ok() {
        std::fs::remove_dir_all(&folder)?;
    } else {
        eprintln!("netns: the nodes' folders and logs are in {}", folder.display());
    }
    result
}

fn lacking(program: &Path) -> Option<String> {
    if !program.exists() {
        return Some("the workspace builds no edge-net yet".to_owned());
    }
    COMMANDS.iter().find_map(|words| {
        let mut command = process::command(program);
        let help = process::capture(command.args(*words).arg("--help"));
        let known = help.is_ok_and(|text| text.contains("Usage"));
        (!known).then(|| format!("not yet: edge-net has no `{}` command", words.join(" ")))
    })
}

fn main_job(world: &World, program: &Path, folder: &Path) -> Result<String> {
    let documents = folder.join("documents");
    std::fs::create_dir_all(&documents)?;
    for (name, text) in DOCUMENTS {
        std::fs::write(documents.join(name), text)?;
    }
    let mut a = Node::new(&world.a, program, folder.join("a"));
    let mut b = Node::new(&world.b, program, folder.join("b"));
    a.start(&[])?;
    let ticket = a.json(&["identity", "invite"])?;
    let ticket = ticket["ticket"].as_str().context("`identity invite --json` has no `ticket`")?;
    b.start(&["--join", ticket])?;
    a.wait_for_peer()?;

    let started = Instant::now();
    let documents = documents.to_str().context("the temporary folder is not UTF-8")?;
    a.ask(&["collection", "import", COLLECTION, documents])?;
    let found = a.ask(&[
        "search",
        "how do I set a timeout on a tcp connection",
        "-c",
        COLLECTION,
        "-k",
        "3",
        "--json",
    ])?;
    let found: Value = serde_json::from_str(&found).context("`search --json` is no JSON")?;
    let first = found["hits"].get(0).context("`search --json` has no hits")?.to_string();
    if !first.contains("tcp.txt") {
        bail!("the first hit is not tcp.txt: {first}");
    }
    let matched =
        a.json(&["match", "bake a loaf of bread", "--labels", "cooking,networking,astronomy"])?;
    if matched["label"].as_str() != Some("cooking") {
        bail!("`match` chose {}, not cooking", matched["label"]);
    }
    let agreed = &matched["task"]["check"]["agreed"];
    if agreed.as_array().is_none_or(Vec::is_empty) {
        let id = matched["task"]["id"].as_str().unwrap_or_default();
        let trail = a.ask(&["task", "explain", id])?;
        bail!("the other node had no part in the match: {}\n{trail}", matched["task"]["check"]);
    }
    let elapsed = started.elapsed().as_secs_f64();
    a.stop()?;
    b.stop()?;
    Ok(format!("import, search and match in {elapsed:.1} s"))
}

/// Both hosts move to other addresses while their nodes are down: what the nodes remember of
/// each other is wrong then, and mDNS is the only way left to find each other.
fn by_mdns(world: &mut World, program: &Path, folder: &Path) -> Result<String> {
    world.a.move_to("10.77.0.101")?;
    world.b.move_to("10.77.0.102")?;
    let mut a = Node::new(&world.a, program, folder.join("a"));
    let mut b = Node::new(&world.b, program, folder.join("b"));
    let started = Instant::now();
    a.start(&[])?;
    b.start(&[])?;
    a.wait_for_peer()?;
    b.wait_for_peer()?;
    let elapsed = started.elapsed().as_secs_f64();
    a.stop()?;
    b.stop()?;
    Ok(format!("found each other by mDNS in {elapsed:.1} s"))
}

impl<'a> Node<'a> {
    fn new(host: &'a Host, program: &'a Path, home: PathBuf) -> Self {
        Self { host, program, home, child: None }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(self.program);
        command.args(arguments).env("HOME", &self.home).stdin(Stdio::null());
        for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
            command.env(name, self.home.join(name));
        }
        command
    }

    /// Starts the node and waits until it answers.
    fn start(&mut self, arguments: &[&str]) -> Result<()> {
        std::fs::create_dir_all(&self.home)?;
        let log = self.home.join("node.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = self.command(&["start"]);
        command.args(arguments).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("cannot start the node")?);
        self.until("the node answers", |node| Ok(node.ask(&["status"]).is_ok()))
    }

    fn wait_for_peer(&mut self) -> Result<()> {
        self.until("a peer is connected", |node| {
            let peers = node.json(&["peer", "ls"])?;
            let peers = peers["peers"].as_array().context("`peer ls --json` has no `peers`")?;
            // The label comes with a peer's advert: from then on it is offered tasks.
            let known =
                |peer: &Value| peer["agent"].as_str().is_some_and(|agent| !agent.is_empty());
            Ok(peers.iter().any(|peer| peer["connected"] == true && known(peer)))
        })
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("the node ended while waiting until {what}: {status}");
            }
            if holds(self)? {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("waited {} s until {what}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The standard output of a command that has to succeed.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        process::capture(&mut self.command(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.ask(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("`edge-net {} --json` is no JSON", arguments.join(" ")))
    }

    fn stop(&mut self) -> Result<()> {
        self.ask(&["stop"])?;
        let started = Instant::now();
        while let Some(child) = &mut self.child {
            match child.try_wait()? {
                Some(status) if status.success() => self.child = None,
                Some(status) => bail!("the node ended with {status}"),
                None if started.elapsed() > PATIENCE => bail!("the node did not stop"),
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        Ok(())
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Already ended is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
