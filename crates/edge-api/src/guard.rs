//! Who may call: the token, the `Host` header against name rebinding, and the `Origin` header
//! against pages of other sites, which may send requests even where they may not read answers.
//! Around every call: a time limit, and one shape of errors.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, stream};

use crate::error::Failure;

/// How long a request may take, its body included. Tasks have shorter limits of their own; this one
/// is for bodies that never end.
const REQUEST_MAX: Duration = Duration::from_secs(600);
/// How long a body may go without a byte.
const BODY_IDLE: Duration = Duration::from_secs(30);
/// Bytes of a plain error text that are kept.
const ERROR_BYTES_MAX: usize = 4 << 10;

/// What a request must show.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    token: Option<String>,
    bind: IpAddr,
}

impl Guard {
    pub(crate) fn new(token: Option<String>, bind: IpAddr) -> Self {
        Guard { token, bind }
    }

    /// Whether a `Host` header names this machine: an address, or a loopback name. Names could be
    /// rebound by whoever serves a page elsewhere; addresses cannot.
    fn admits_host(&self, host: &str) -> bool {
        let (bracketed, name, port) = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((name, port)) => (true, name, port),
                None => return false,
            },
            None => {
                let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
                (false, name, port)
            }
        };
        let digits = |p: &str| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok();
        if !(port.is_empty() || port.strip_prefix(':').is_some_and(digits)) {
            return false;
        }
        match name.parse::<IpAddr>() {
            Ok(address) if address.is_ipv6() == bracketed => {
                address.is_loopback() || address == self.bind || self.bind.is_unspecified()
            }
            Ok(_) => false,
            Err(_) => {
                let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                let name = name.to_ascii_lowercase();
                let local = name == "localhost" || name.ends_with(".localhost");
                !bracketed && local && name.bytes().all(label)
            }
        }
    }

    /// Whether a request comes from no page, or from one that this very address served. A browser
    /// names the origin of every request that could change something.
    fn admits_origin(headers: &HeaderMap, host: &str) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let origin = origin.to_str().unwrap_or_default();
        let served = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        served.is_some_and(|served| served.eq_ignore_ascii_case(host))
    }

    fn admits_token(&self, shown: Option<&str>) -> bool {
        let Some(token) = &self.token else { return true };
        let Some(shown) = shown.and_then(|s| s.strip_prefix("Bearer ")) else { return false };
        // Digests of equal length, so that the time tells nothing about where they differ.
        edge_base::Digest::of(shown.as_bytes()) == edge_base::Digest::of(token.as_bytes())
    }
}

/// Refuses what the guard does not admit.
pub(crate) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let host = text(header::HOST).or_else(|| request.uri().host()).unwrap_or_default();
    if !guard.admits_host(host) && guard.token.is_none() {
        let why = format!("the request is addressed to {host:?}, which is not this node");
        let next = "use the address that the node printed";
        return Failure::new(StatusCode::FORBIDDEN, "refused", why, next).into_response();
    }
    if !Guard::admits_origin(headers, host) {
        let why = "the request comes from a page of another site";
        let next = "call from a program, or from a page that this node serves";
        return Failure::new(StatusCode::FORBIDDEN, "refused", why, next).into_response();
    }
    if !guard.admits_token(text(header::AUTHORIZATION)) {
        let why = "the node wants a token and the request has none or another one";
        let next = "send `authorization: Bearer TOKEN`; `edge-net` sends the `token` of its settings \
                    (`edge-net config show`)";
        return Failure::new(StatusCode::UNAUTHORIZED, "refused", why, next).into_response();
    }
    let api = request.uri().path().starts_with("/api/");
    let idle = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| patient(body, BODY_IDLE, idle.clone()));
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
        Ok(_) if idle.load(Ordering::Relaxed) => {
            let why = format!("its body went {} seconds without a byte", BODY_IDLE.as_secs());
            let status = StatusCode::REQUEST_TIMEOUT;
            Failure::new(status, "it took too long", why, "send it again").into_response()
        }
        Ok(response) if api => shaped(response).await,
        Ok(response) => response,
        Err(_) => {
            let why = format!("a request may take {} seconds", REQUEST_MAX.as_secs());
            let next = "send less at once";
            let status = StatusCode::REQUEST_TIMEOUT;
            Failure::new(status, "it took too long", why, next).into_response()
        }
    }
}

/// A body that ends, and says so, when it goes for long without a byte.
fn patient(body: Body, longest: Duration, idle: Arc<AtomicBool>) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let ended = io::ErrorKind::TimedOut;
    Body::from_stream(stream::unfold(Some(body.into_data_stream()), move |bytes| {
        let idle = idle.clone();
        async move {
            let mut bytes = bytes?;
            match tokio::time::timeout(longest, bytes.next()).await {
                Ok(Some(Ok(more))) => Some((Ok(more), Some(bytes))),
                Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
                Ok(None) => None,
                Err(_) => {
                    idle.store(true, Ordering::Relaxed);
                    Some((Err(io::Error::from(ended)), None))
                }
            }
        }
    }))
}

/// Gives the framework's own plain refusals (a method, a query, a size) the shape of all others.
async fn shaped(response: Response) -> Response {
    let json = header::HeaderValue::from_static("application/json");
    let status = response.status();
    let ours = response.headers().get(header::CONTENT_TYPE) == Some(&json);
    if !(status.is_client_error() || status.is_server_error()) || ours {
        return response;
    }
    let bytes = axum::body::to_bytes(response.into_body(), ERROR_BYTES_MAX).await;
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let why = match (text.trim(), status.canonical_reason()) {
        ("", reason) => reason.unwrap_or("refused").to_lowercase(),
        (text, _) => text.to_owned(),
    };
    let next = "correct the request; docs/http.md shows the shapes";
    Failure::new(status, "the request is not valid", why, next).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let guard = Guard::new(None, "127.0.0.1".parse().unwrap());
        for host in ["127.0.0.1:3141", "localhost", "localhost:1", "[::1]:3141", "a.localhost:2"] {
            assert!(guard.admits_host(host), "{host}");
        }
        for host in ["evil.example", "evil.example:3141", "192.168.1.4:3141", "", "localhost.evil"]
        {
            assert!(!guard.admits_host(host), "{host}");
        }
        for host in [
            "127.0.0.1:99@evil.example",
            "[::1",
            "[::1]evil.example",
            "[::1]@evil.example:80",
            "[::1]:80:80",
            "[127.0.0.1]:80",
            "[localhost]",
            "::1",
            "127.0.0.1:",
            "127.0.0.1:+80",
            "127.0.0.1:99999",
            "evil.example/.localhost",
            "evil.example@a.localhost:80",
        ] {
            assert!(!guard.admits_host(host), "{host}");
        }
        let everywhere = Guard::new(None, "0.0.0.0".parse().unwrap());
        assert!(everywhere.admits_host("192.168.1.4:3141") && everywhere.admits_host("[fe80::1]"));
        assert!(!everywhere.admits_host("192.168.1.4:99@evil.example"));
    }

    #[test]
    fn origins() {
        let admits = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            Guard::admits_origin(&headers, "127.0.0.1:3141")
        };
        assert!(admits(None) && admits(Some("http://127.0.0.1:3141")));
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8080", "", "file://"] {
            assert!(!admits(Some(origin)), "{origin}");
        }
    }

    #[tokio::test]
    async fn a_body_that_never_ends_ends() {
        for (bytes, endless) in [("{}", false), ("", true)] {
            let parts = stream::iter(["{", "}"].map(Ok::<_, io::Error>));
            let body = match endless {
                true => Body::from_stream(parts.chain(stream::pending())),
                false => Body::from_stream(parts),
            };
            let idle = Arc::new(AtomicBool::new(false));
            let read = patient(body, Duration::from_millis(20), idle.clone());
            let read = axum::body::to_bytes(read, 100).await;
            assert_eq!((read.is_err(), idle.load(Ordering::Relaxed)), (endless, endless));
            assert_eq!(read.unwrap_or_default(), bytes);
        }
    }

    #[test]
    fn tokens() {
        let guard = Guard::new(Some("secret".into()), "0.0.0.0".parse().unwrap());
        assert!(guard.admits_token(Some("Bearer secret")));
        for wrong in [None, Some("Bearer secrets"), Some("secret"), Some("Bearer ")] {
            assert!(!guard.admits_token(wrong), "{wrong:?}");
        }
    }
}
