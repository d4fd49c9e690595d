//! Who may call: the token, and the `Host` header against name rebinding.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::error::Failure;

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
    if !guard.admits_token(text(header::AUTHORIZATION)) {
        let why = "the node wants a token and the request has none or another one";
        let next = "send `authorization: Bearer TOKEN`";
        return Failure::new(StatusCode::UNAUTHORIZED, "refused", why, next).into_response();
    }
    next.run(request).await
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
    fn tokens() {
        let guard = Guard::new(Some("secret".into()), "0.0.0.0".parse().unwrap());
        assert!(guard.admits_token(Some("Bearer secret")));
        for wrong in [None, Some("Bearer secrets"), Some("secret"), Some("Bearer ")] {
            assert!(!guard.admits_token(wrong), "{wrong:?}");
        }
    }
}
