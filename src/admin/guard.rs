//! Who may change something, and who may read.
//!
//! With a token configured, whoever shows it. Without one, whoever is on this machine may change something; and because
//! browsers are on this machine, too, and do what pages from anywhere ask them, the request has to be one that such a page
//! cannot make: it names a loopback host, which a name that a stranger points here is not, and says that it speaks JSON, which
//! a page of another origin may not without being asked first. Reading is for whoever reaches the address; but where that is
//! loopback, a page that has its own name point here reads nothing, either: the request has to name a loopback host, or none,
//! as no browser does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::RwLock;

use super::refusal::Refusal;
use crate::config::AdminToken;

/// Where a request comes from; the server adds it to each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Who asks.
    pub(super) address: SocketAddr,
    /// The address that it has reached.
    pub(super) reached: SocketAddr,
}

/// Lets changing requests pass, or not.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Guards which tokens count.
    tokens: Arc<RwLock<Tokens>>,
    /// What the node's own host is called.
    hosts: Arc<[String]>,
}

/// What requests have to show, where they have to show something.
#[derive(Debug, Default)]
struct Tokens {
    /// To change something; good for reading, too.
    change: Option<AdminToken>,
    /// To read.
    read: Option<AdminToken>,
}

/// Why a request is refused: whose fault it is, and what would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    NoToken,
    WrongToken,
    NotLocal,
    ForeignHost,
    ForeignHostRead,
    FromElsewhere,
    NotJson,
    NoReadToken,
    WrongReadToken,
}

impl Guard {
    /// Asks for this token, or for a caller on this machine, where something is to be changed; and for the other, or this one,
    /// where something is to be read.
    pub fn new(token: Option<AdminToken>, read_token: Option<AdminToken>) -> Guard {
        let tokens = Tokens { change: token, read: read_token };
        Guard { tokens: Arc::new(RwLock::new(tokens)), hosts: Arc::default() }
    }

    /// Asks for these from now on.
    pub fn replace(&self, token: Option<AdminToken>, read_token: Option<AdminToken>) {
        *self.tokens.write() = Tokens { change: token, read: read_token };
    }

    /// These, too, are names that nobody else can give to this machine.
    pub fn with_hosts(self, hosts: Vec<String>) -> Guard {
        Guard { hosts: hosts.into(), ..self }
    }

    /// Whether a request may be answered that changes nothing.
    fn check_read(&self, caller: Option<Caller>, headers: &HeaderMap) -> Result<(), Refused> {
        let tokens = self.tokens.read();
        if let Some(token) = &tokens.read {
            let given = bearer(headers).ok_or(Refused::NoReadToken)?;
            let is_admin = tokens.change.as_ref().is_some_and(|token| token.is(given));
            return if token.is(given) | is_admin { Ok(()) } else { Err(Refused::WrongReadToken) };
        }
        let on_loopback = caller.is_none_or(|caller| caller.reached.ip().to_canonical().is_loopback());
        match headers.get(header::HOST) {
            Some(host) if on_loopback => {
                let is_own =
                    |host: &str| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(without_port(host)));
                let known = host.to_str().is_ok_and(|host| is_loopback(host) || is_own(host));
                if known { Ok(()) } else { Err(Refused::ForeignHostRead) }
            }
            _ => Ok(()),
        }
    }

    /// Whether a request may be answered that shows what clients send: it asks for all that is asked of one that changes something,
    /// and who may not read may not, either.
    fn check_telling(&self, caller: Option<IpAddr>, headers: &HeaderMap) -> Result<(), Refused> {
        let tokens = self.tokens.read();
        if let (None, Some(token)) = (&tokens.change, &tokens.read) {
            let given = bearer(headers).ok_or(Refused::NoReadToken)?;
            if !token.is(given) {
                return Err(Refused::WrongReadToken);
            }
        }
        drop(tokens);
        self.check(caller, headers)
    }

    /// Whether a request may be answered that changes something.
    fn check(&self, caller: Option<IpAddr>, headers: &HeaderMap) -> Result<(), Refused> {
        if let Some(token) = &self.tokens.read().change {
            let given = bearer(headers).ok_or(Refused::NoToken)?;
            return if token.is(given) { Ok(()) } else { Err(Refused::WrongToken) };
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

/// The token that a request shows.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The middleware of all paths. Those that change something have their own as well.
pub(super) async fn guard_reading(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // Whoever looks after the process has no token, and learns nothing; nor does who gets the status page, which asks its user
    // for the token.
    let tells_nothing = matches!(request.uri().path(), "/healthz" | "/readyz" | "/");
    if is_read && !tells_nothing {
        let caller = request.extensions().get::<Caller>().copied();
        if let Err(refused) = guard.check_read(caller, request.headers()) {
            return refused.into_response();
        }
        if is_work(request.uri().path()) && is_from_elsewhere(request.headers()) {
            return Refused::FromElsewhere.into_response();
        }
    }
    next.run(request).await
}

/// The middleware of paths that change something.
pub(super) async fn guard_changing(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().map(|caller| caller.address.ip());
    let checked = match request.uri().path().ends_with("/trace") {
        true => guard.check_telling(caller, request.headers()),
        false => guard.check(caller, request.headers()),
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Whether a question keeps nodes busy, or one of the few places of those who watch.
fn is_work(path: &str) -> bool {
    path.ends_with("/top-topics") || path.ends_with("/events/stream")
}

/// Whether a browser says that a page of another origin makes it ask.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    site.is_some_and(|site| site != b"same-origin" && site != b"none")
}

/// Whether the value of a Host header names this machine by a name that nobody else can give to it.
fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The name or address in the value of a Host header.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
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
                "without an admin token only callers on this machine's loopback address change anything: give the node --http-token-file, or ask there",
            ),
            Refused::ForeignHost => {
                (StatusCode::FORBIDDEN, "the Host header has to name localhost or a loopback address")
            }
            Refused::ForeignHostRead => (
                StatusCode::FORBIDDEN,
                "on a loopback address the Host header has to name localhost, a loopback address or the node's own host",
            ),
            Refused::FromElsewhere => (StatusCode::FORBIDDEN, "a page of another origin may not ask this"),
            Refused::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "this needs Content-Type: application/json")
            }
            Refused::NoReadToken => (
                StatusCode::UNAUTHORIZED,
                "this needs Authorization: Bearer and the token for reading, or the admin token",
            ),
            Refused::WrongReadToken => {
                (StatusCode::UNAUTHORIZED, "this is neither the token for reading nor the admin token")
            }
        };
        let mut response = Refusal(status, error.to_owned()).into_response();
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
        let guard = Guard::new(Some(token), None);
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

    #[test]
    fn on_loopback_pages_of_other_names_read_nothing() {
        let guard = Guard::default();
        let caller = |reached: &str| {
            let reached = SocketAddr::new(reached.parse().unwrap(), 18083);
            Some(Caller { address: "127.0.0.1:5000".parse().unwrap(), reached })
        };
        for host in ["localhost:18083", "127.0.0.1", "[::1]:18083"] {
            let headers = headers(&[(header::HOST, host)]);
            assert_eq!(guard.check_read(caller("127.0.0.1"), &headers), Ok(()), "{host}");
        }
        let foreign = headers(&[(header::HOST, "rebound.example:18083")]);
        for reached in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(
                guard.check_read(caller(reached), &foreign),
                Err(Refused::ForeignHostRead),
                "{reached}"
            );
        }
        assert_eq!(guard.check_read(None, &foreign), Err(Refused::ForeignHostRead));
        let own = guard.clone().with_hosts(vec!["Rebound.example".to_owned()]);
        assert_eq!(own.check_read(None, &foreign), Ok(()), "its own name");
        assert_eq!(
            guard.check_read(caller("127.0.0.1"), &HeaderMap::new()),
            Ok(()),
            "no browser leaves it out"
        );
        assert_eq!(guard.check_read(caller("10.0.0.5"), &foreign), Ok(()), "open to whoever reaches it");
    }

    #[test]
    fn a_token_for_reading_closes_reads() {
        let token = |text: &str| AdminToken::parse_file(text.as_bytes()).ok();
        let guard = Guard::new(token("0123456789abcdef-admin"), token("0123456789abcdef-read"));
        let check = |value: &str| guard.check_read(None, &headers(&[(header::AUTHORIZATION, value)]));
        assert_eq!(check("Bearer 0123456789abcdef-read"), Ok(()));
        assert_eq!(check("Bearer 0123456789abcdef-admin"), Ok(()));
        assert_eq!(check("Bearer 0123456789abcdef-other"), Err(Refused::WrongReadToken));
        assert_eq!(check("Basic abc"), Err(Refused::NoReadToken));
        assert_eq!(guard.check_read(None, &HeaderMap::new()), Err(Refused::NoReadToken));
        let reader = headers(&[(header::AUTHORIZATION, "Bearer 0123456789abcdef-read")]);
        assert_eq!(guard.check("127.0.0.1".parse().ok(), &reader), Err(Refused::WrongToken));
    }

    #[test]
    fn who_may_not_read_is_not_told_what_clients_send() {
        let guard = Guard::new(None, AdminToken::parse_file(b"0123456789abcdef-read").ok());
        let local = "127.0.0.1".parse().ok();
        let request = [(header::HOST, "localhost"), (header::CONTENT_TYPE, "application/json")];
        assert_eq!(guard.check(local, &headers(&request)), Ok(()));
        assert_eq!(guard.check_telling(local, &headers(&request)), Err(Refused::NoReadToken));
        let mut reader = headers(&request);
        reader.extend(headers(&[(header::AUTHORIZATION, "Bearer 0123456789abcdef-read")]));
        assert_eq!(guard.check_telling(local, &reader), Ok(()));
    }

    #[test]
    fn pages_of_other_origins_are_known() {
        let from = |site: &str| {
            let name = header::HeaderName::from_static("sec-fetch-site");
            is_from_elsewhere(&headers(&[(name, site)]))
        };
        assert_eq!(["same-origin", "none", "cross-site", "same-site"].map(from), [false, false, true, true]);
        assert!(!is_from_elsewhere(&HeaderMap::new()), "no browser");
        assert!(is_work("/api/v1/top-topics") && is_work("/api/v1/events/stream"));
        assert!(!is_work("/api/v1/events"));
    }
}
