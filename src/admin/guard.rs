//! Who may change something.
//!
//! With a token configured, whoever shows it. Without one, whoever is on this machine; and because browsers are on this
//! machine, too, and do what pages from anywhere ask them, the request has to be one that such a page cannot make: it names
//! a loopback host, which a name that a stranger points here is not, and says that it speaks JSON, which a page of another
//! origin may not without being asked first.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use parking_lot::RwLock;

use super::view::ErrorView;
use crate::config::AdminToken;

/// Where a request comes from; the server adds it to each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) SocketAddr);

/// Lets changing requests pass, or not.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Guards which token counts.
    token: Arc<RwLock<Option<AdminToken>>>,
}

/// Why a changing request is refused: whose fault it is, and what would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    NoToken,
    WrongToken,
    NotLocal,
    ForeignHost,
    NotJson,
}

impl Guard {
    /// Asks for this token, or for a caller on this machine.
    pub fn new(token: Option<AdminToken>) -> Guard {
        Guard { token: Arc::new(RwLock::new(token)) }
    }

    /// Asks for this from now on.
    pub fn replace(&self, token: Option<AdminToken>) {
        *self.token.write() = token;
    }

    fn check(&self, caller: Option<IpAddr>, headers: &HeaderMap) -> Result<(), Refused> {
        if let Some(token) = &*self.token.read() {
            let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
            let given = given.and_then(|value| value.split_at_checked(7));
            return match given {
                Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
                    if token.is(given.trim_ascii()) { Ok(()) } else { Err(Refused::WrongToken) }
                }
                _ => Err(Refused::NoToken),
            };
        }
        if !caller.is_some_and(|caller| caller.to_canonical().is_loopback()) {
            return Err(Refused::NotLocal);
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if !text(header::HOST).is_some_and(is_loopback) {
            return Err(Refused::ForeignHost);
        }
        let media_type = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next());
        if !media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Refused::NotJson);
        }
        Ok(())
    }
}

/// The middleware of paths that change something.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().map(|caller| caller.0.ip());
    match guard.check(caller, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Whether the value of a Host header names this machine by a name that nobody else can give to it.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| {
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Refused::NoToken => {
                (StatusCode::UNAUTHORIZED, "this needs Authorization: Bearer and the admin token")
            }
            Refused::WrongToken => (StatusCode::UNAUTHORIZED, "this is not the admin token"),
            Refused::NotLocal => (
                StatusCode::FORBIDDEN,
                "without an admin token (--http-token-file) only callers on loopback change anything",
            ),
            Refused::ForeignHost => {
                (StatusCode::FORBIDDEN, "the Host header has to name localhost or a loopback address")
            }
            Refused::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "this needs Content-Type: application/json")
            }
        };
        let mut response = (status, Json(ErrorView { error: error.to_owned() })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn without_a_token_only_programs_on_this_machine_pass() {
        let guard = Guard::default();
        let check = |caller: &str, host: &str, media_type: &str| {
            let headers = headers(&[(header::HOST, host), (header::CONTENT_TYPE, media_type)]);
            guard.check(caller.parse().ok(), &headers)
        };
        for caller in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            for host in ["localhost", "LOCALHOST:18083", "127.0.0.1:18083", "[::1]:18083", "[::1]"] {
                assert_eq!(check(caller, host, "application/json"), Ok(()), "{caller} {host}");
            }
        }
        assert_eq!(check("127.0.0.1", "localhost", "Application/JSON; charset=utf-8"), Ok(()));
        for caller in ["10.0.0.1", "", "fe80::1", "::ffff:10.0.0.1"] {
            assert_eq!(check(caller, "localhost", "application/json"), Err(Refused::NotLocal), "{caller}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "[::1",
            "[::2]",
        ] {
            let expected = if host == "[::1" { Ok(()) } else { Err(Refused::ForeignHost) };
            assert_eq!(check("127.0.0.1", host, "application/json"), expected, "{host}");
        }
        for media_type in ["text/plain", "", "application/jsonp", "application/x-www-form-urlencoded"] {
            assert_eq!(check("127.0.0.1", "localhost", media_type), Err(Refused::NotJson), "{media_type}");
        }
        assert_eq!(guard.check("127.0.0.1".parse().ok(), &HeaderMap::new()), Err(Refused::ForeignHost));
    }

    #[test]
    fn with_a_token_it_alone_counts() {
        let token = AdminToken::parse_file(b"0123456789abcdef\n").unwrap();
        let guard = Guard::new(Some(token));
        let check =
            |value: &str| guard.check("10.0.0.1".parse().ok(), &headers(&[(header::AUTHORIZATION, value)]));
        assert_eq!(check("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(check("bearer 0123456789abcdef"), Ok(()));
        for wrong in
            ["Bearer 0123456789abcdeX", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Bearer "]
        {
            let expected = if wrong == "Bearer " { Refused::NoToken } else { Refused::WrongToken };
            let outcome = check(wrong);
            assert!(outcome == Err(expected) || outcome == Err(Refused::WrongToken), "{wrong}: {outcome:?}");
        }
        for none in ["Basic 0123456789abcdef", "0123456789abcdef", ""] {
            assert_eq!(check(none), Err(Refused::NoToken), "{none}");
        }
        let local = headers(&[(header::HOST, "localhost"), (header::CONTENT_TYPE, "application/json")]);
        assert_eq!(guard.check("127.0.0.1".parse().ok(), &local), Err(Refused::NoToken));
    }
}
