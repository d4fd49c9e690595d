//! Real nodes, one process each, and their HTTP interface.
#![allow(clippy::unwrap_used, dead_code, reason = "each test uses a part")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A process of its own.
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub(crate) fn new(folder: &Path) -> Node {
        Node { folder: folder.to_owned(), child: None }
    }

    pub(crate) fn start(&mut self, more: &[&str]) {
        let child = Command::new(env!("CARGO_BIN_EXE_edge-net"))
            .arg("--data-dir")
            .arg(&self.folder)
            .args(["start", "--port", "0", "--no-mdns", "--cpu", "100%", "--log", "off"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0"])
            .args(more)
            .env("XDG_CONFIG_HOME", &self.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("the node is ready", || self.url().is_some());
    }

    /// Where it is, once it is a member. The note of a process that was killed is not its own.
    pub(crate) fn url(&self) -> Option<String> {
        let note = std::fs::read(self.folder.join("api.json")).ok()?;
        let note: Value = serde_json::from_slice(&note).ok()?;
        let own = note["pid"].as_u64() == self.child.as_ref().map(|child| u64::from(child.id()));
        let url = note["url"].as_str()?.trim_end_matches('/').to_owned();
        (own && ureq::get(format!("{url}/readyz")).call().is_ok()).then_some(url)
    }

    /// The command that asks it to stop; it has ended then.
    pub(crate) fn stop(&mut self) {
        let asked = Command::new(env!("CARGO_BIN_EXE_edge-net"))
            .arg("--data-dir")
            .arg(&self.folder)
            .arg("stop")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(asked.success());
        if let Some(mut child) = self.child.take() {
            assert!(child.wait().unwrap().success());
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn post(url: &str, path: &str, body: &Value) -> Result<Value, String> {
    let answer = ureq::post(format!("{url}/api/v1/{path}")).send_json(body);
    answer.and_then(|mut answer| answer.body_mut().read_json()).map_err(|e| e.to_string())
}
