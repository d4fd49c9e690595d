//! The node's HTTP interface as seen from outside.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;
use ureq::{Agent, http::Response};

use crate::failure::{Exit, Failure, Outcome};

/// How long a request may take when nobody says.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// A client of one node.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the node at a URL.
    pub(crate) fn new(base: &str, token: Option<String>, timeout: Option<Duration>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout.unwrap_or(TIMEOUT)))
            .timeout_connect(Some(Duration::from_secs(5)))
            .http_status_as_error(false)
            .max_idle_connections_per_host(16)
            .build();
        let base = base.trim_end_matches('/').to_owned();
        Client { agent: Agent::new_with_config(config), base, token }
    }

    /// A client of the node that runs on a data folder.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when no node says it runs there.
    pub(crate) fn of_folder(
        folder: &Path,
        token: Option<String>,
        timeout: Option<Duration>,
    ) -> Outcome<Self> {
        match edge_node::folder::read_api_note(folder) {
            Some(note) => Ok(Client::new(&note.url, token, timeout)),
            None => Err(Failure::new(
                Exit::Unreachable,
                "there is no node to talk to",
                format!("none runs on {}", folder.display()),
                "start one with `edge-net start`, or name one with --api or --data-dir",
            )),
        }
    }

    /// The address of the interface.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get(&self, path: &str) -> Outcome<Value> {
        let request = self.agent.get(self.url(path));
        self.finish(request.header("accept", "application/json").auth(self).call())
    }

    pub(crate) fn delete(&self, path: &str) -> Outcome<Value> {
        self.finish(self.agent.delete(self.url(path)).auth(self).call())
    }

    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Outcome<Value> {
        self.finish(self.agent.post(self.url(path)).auth(self).send_json(body))
    }

    /// Text, for `/metrics` and `/healthz`.
    pub(crate) fn is_up(&self, path: &str) -> bool {
        let answer = self.agent.get(self.url(path)).auth(self).call();
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// The lines of the event stream. It never ends by itself.
    pub(crate) fn events(&self) -> Outcome<impl BufRead + Send + use<>> {
        let request = self.agent.get(self.url("/api/v1/events")).auth(self);
        let request = request.config().timeout_global(None).build();
        let answer = request.call().map_err(|error| self.unreachable(&error))?;
        Ok(BufReader::new(answer.into_body().into_reader()))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn finish(&self, answer: Result<Response<ureq::Body>, ureq::Error>) -> Outcome<Value> {
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        if (200..300).contains(&status) {
            if body.trim_ascii().is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&body).map_err(|error| {
                Failure::failed(
                    format!("{} gave no JSON", self.base),
                    error,
                    "is this an edge-net node? check --api",
                )
            });
        }
        Err(self.refused(status, &body))
    }

    /// The failure that an HTTP status and the interface's error object say.
    fn refused(&self, status: u16, body: &[u8]) -> Failure {
        let exit = match status {
            400 | 411 | 413 | 415 | 422 => Exit::Usage,
            404 => Exit::NotFound,
            401 | 402 | 403 | 409 | 429 => Exit::Refused,
            408 | 504 => Exit::TimedOut,
            _ => Exit::Failed,
        };
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let part = |name: &str| value["error"][name].as_str().map(str::to_owned);
        match (part("what"), part("why"), part("next")) {
            (Some(what), why, next) => {
                Failure::new(exit, what, why.unwrap_or_default(), next.unwrap_or_default())
            }
            (None, ..) => Failure::new(
                exit,
                format!("{} answered {status}", self.base),
                String::from_utf8_lossy(&body[..body.len().min(200)]),
                "is this an edge-net node? check --api",
            ),
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        if matches!(error, ureq::Error::Timeout(_)) {
            return Failure::new(
                Exit::TimedOut,
                "the node did not answer in time",
                "what was asked may still be done: blocks that wait for witnesses go on by themselves",
                "before you ask again look at `edge-net status` and `edge-net ledger history`; \
                 --timeout waits longer",
            );
        }
        if was_lost(error) {
            return Failure::new(
                Exit::Unreachable,
                format!("the node at {} went away while it was asked", self.base),
                error,
                "what was asked may still be done: once the node runs again look at `edge-net ledger \
                 history` before you ask again",
            );
        }
        Failure::new(
            Exit::Unreachable,
            format!("no node answers at {}", self.base),
            error,
            "start one with `edge-net start`, or name one with --api or --data-dir",
        )
    }
}

/// Whether the connection stood, and something may have been asked on it.
fn was_lost(error: &ureq::Error) -> bool {
    use std::io::ErrorKind as Kind;
    let lost =
        [Kind::ConnectionReset, Kind::ConnectionAborted, Kind::BrokenPipe, Kind::UnexpectedEof];
    matches!(error, ureq::Error::Io(error) if lost.contains(&error.kind()))
}

trait Authorised: Sized {
    fn auth(self, client: &Client) -> Self;
}

impl<B> Authorised for ureq::RequestBuilder<B> {
    fn auth(self, client: &Client) -> Self {
        match &client.token {
            Some(token) => self.header("authorization", format!("Bearer {token}")),
            None => self,
        }
    }
}

/// A part of a path, so that any name can stand in it.
pub(crate) fn escaped(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
