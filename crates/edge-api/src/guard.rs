//! Who may call: the token, the `Host` header against name rebinding, and the `Origin` header
//! against pages of other sites, which may send requests even where they may not read answers.
//! Around every call: a time limit, and one shape of errors.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::error::Failure;

/// How long a request may take, its body included. Tasks have shorter limits of their own; this one
/// is for bodies that never end.
const REQUEST_MAX: Duration = Duration::from_secs(600);
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
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let address = name.parse::<IpAddr>();
        let own =
            address.is_ok_and(|a| a.is_loopback() || a == self.bind || self.bind.is_unspecified());
        own || name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost")
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
        let next = "send `authorization: Bearer TOKEN`";
        return Failure::new(StatusCode::UNAUTHORIZED, "refused", why, next).into_response();
    }
    let api = request.uri().path().starts_with("/api/");
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
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

    #[test]
    fn tokens() {
        let guard = Guard::new(Some("secret".into()), "0.0.0.0".parse().unwrap());
        assert!(guard.admits_token(Some("Bearer secret")));
        for wrong in [None, Some("Bearer secrets"), Some("secret"), Some("Bearer ")] {
            assert!(!guard.admits_token(wrong), "{wrong:?}");
        }
    }
}
