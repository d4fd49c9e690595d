//! The command line against a server that answers what a test says.
#![allow(clippy::unwrap_used, dead_code, reason = "each test uses a part")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Command, Output},
    sync::mpsc,
};

use serde_json::json;

/// A server that gives every request the same answer and reports what was asked.
pub(crate) struct Fake {
    pub(crate) url: String,
    pub(crate) asked: mpsc::Receiver<(String, String)>,
}

impl Fake {
    pub(crate) fn new(status: u16, body: &str) -> Fake {
        let body = body.to_owned();
        Fake::by_path(move |_| Some((status, body.clone())))
    }

    /// A server that answers by the first line of a request; not at all where that gives nothing.
    pub(crate) fn by_path(answer: impl Fn(&str) -> Option<(u16, String)> + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, asked) = mpsc::channel();
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if line.trim().is_empty() {
                        break;
                    }
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let asked = (first.trim().to_owned(), String::from_utf8(body).unwrap());
                let answer = answer(&asked.0);
                if sender.send(asked).is_err() {
                    return;
                }
                let Some((status, body)) = answer else {
                    // Open, and silent.
                    silent.push(stream);
                    continue;
                };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: \
                     {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Fake { url, asked }
    }

    pub(crate) fn error(status: u16) -> Fake {
        let error = json!({ "what": "it went wrong", "why": "for a reason", "next": "do this" });
        Fake::new(status, &json!({ "schema": "edge-net.error/1", "error": error }).to_string())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        edge_net(&[&["--api", &self.url], arguments].concat())
    }
}

pub(crate) fn edge_net(arguments: &[&str]) -> Output {
    let empty = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_edge-net"))
        .args(arguments)
        .env_remove("EDGE_NET_API")
        .env("XDG_CONFIG_HOME", empty.path())
        .env("XDG_DATA_HOME", empty.path())
        .env("HOME", empty.path())
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
