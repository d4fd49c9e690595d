//! Errors as answers: what failed, why, and what to do next.

use std::borrow::Cow;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use edge_swarm::Refusal;
use serde::Serialize;

/// An error answer.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    what: &'static str,
    why: String,
    next: Cow<'static, str>,
}

#[derive(Serialize)]
struct Body<'a> {
    schema: &'static str,
    error: Parts<'a>,
}

#[derive(Serialize)]
struct Parts<'a> {
    what: &'a str,
    why: &'a str,
    next: &'a str,
}

impl Failure {
    pub(crate) fn new(
        status: StatusCode,
        what: &'static str,
        why: impl Into<String>,
        next: impl Into<Cow<'static, str>>,
    ) -> Self {
        Failure { status, what, why: why.into(), next: next.into() }
    }

    /// The request cannot be understood.
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        let next = "correct the request; docs/http.md shows the shapes";
        Failure::new(StatusCode::BAD_REQUEST, "the request is not valid", why, next)
    }

    /// What was refused, with what to do about it at this place.
    pub(crate) fn advised(next: impl Into<Cow<'static, str>>) -> impl FnOnce(Refusal) -> Failure {
        let next = next.into();
        move |refusal| match refusal {
            Refusal::Refused(_) | Refusal::Invalid(_) | Refusal::NotFound(_) => {
                Failure { next, ..refusal.into() }
            }
            other => other.into(),
        }
    }

    /// Too much is sent, or read, at once.
    pub(crate) fn crowded() -> Self {
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too much at once",
            "other requests take all the room that there is for such",
            "try again in a moment",
        )
    }

    /// There is no such path.
    pub(crate) fn no_route() -> Self {
        let next = "docs/http.md lists the paths";
        Failure::new(StatusCode::NOT_FOUND, "no such path", "nothing is served here", next)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let why = refusal.to_string();
        let (status, what, next) = match refusal {
            Refusal::NotFound(_) => {
                (StatusCode::NOT_FOUND, "not found", "check the name, or list what there is")
            }
            Refusal::Invalid(_) => {
                (StatusCode::BAD_REQUEST, "the request is not valid", "correct the request")
            }
            Refusal::Refused(_) => (
                StatusCode::FORBIDDEN,
                "refused",
                "`edge-net status` says what the node can do now",
            ),
            Refusal::Revoked(_) => (
                StatusCode::FORBIDDEN,
                "refused",
                "do as it says; a new folder joins by edge-net --data-dir NEW_FOLDER start --join TICKET",
            ),
            Refusal::TimedOut(_) => (
                StatusCode::REQUEST_TIMEOUT,
                "it took too long",
                "try again; `edge-net peer ls` shows who can be reached",
            ),
            Refusal::Failed(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "it failed", "the node's log says more")
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "it failed", "the node's log says more"),
        };
        Failure { status, what, why, next: next.into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = Parts { what: self.what, why: &self.why, next: &self.next };
        (self.status, Json(Body { schema: "edge-net.error/1", error })).into_response()
    }
}
