//! What went wrong, in three parts, and the exit code that follows.

use std::fmt;

use serde_json::{Value, json};

/// Exit codes are a contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It failed.
    Failed = 1,
    /// It was asked for in a way that cannot be.
    Usage = 2,
    /// There is no node to talk to.
    Unreachable = 3,
    /// What was named is not there.
    NotFound = 4,
    /// Policy or credits forbid it.
    Refused = 5,
    /// It took too long.
    TimedOut = 6,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
}

/// A failure a person can act on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What failed.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
    /// What to do next.
    pub(crate) next: String,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(
        exit: Exit,
        what: impl Into<String>,
        why: impl fmt::Display,
        next: impl Into<String>,
    ) -> Self {
        Failure { exit, what: what.into(), why: why.to_string(), next: next.into() }
    }

    /// [`Exit::Failed`].
    pub(crate) fn failed(
        what: impl Into<String>,
        why: impl fmt::Display,
        next: impl Into<String>,
    ) -> Self {
        Failure::new(Exit::Failed, what, why, next)
    }

    /// What another process printed with `--json`, if it is a failure.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let part = |name: &str| value["error"][name].as_str().map(str::to_owned);
        let exit = match value["exit"].as_u64() {
            Some(2) => Exit::Usage,
            Some(3) => Exit::Unreachable,
            Some(4) => Exit::NotFound,
            Some(5) => Exit::Refused,
            Some(6) => Exit::TimedOut,
            _ => Exit::Failed,
        };
        let (why, next) = (part("why").unwrap_or_default(), part("next").unwrap_or_default());
        Some(Failure::new(exit, part("what")?, why, next))
    }

    /// As the JSON object of `--json`.
    pub(crate) fn json(&self) -> Value {
        let Failure { exit, what, why, next } = self;
        json!({
            "schema": "edge-net.error/1",
            "error": { "what": what, "why": why, "next": next },
            "exit": *exit as u8,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if !self.why.is_empty() {
            write!(f, "\n  why:  {}", self.why)?;
        }
        if !self.next.is_empty() {
            write!(f, "\n  next: {}", self.next)?;
        }
        Ok(())
    }
}
