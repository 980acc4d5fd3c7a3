//! Which pages in browsers may open WebSockets. A browser opens one to any server for any page, and says whose page it is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tokio_tungstenite::tungstenite::http::HeaderMap;
use tokio_tungstenite::tungstenite::http::header::ORIGIN;

/// Where a page comes from, as browsers write it (RFC 6454): `https://app.example.org`, with a port where it is not the
/// scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOrigin(String);

/// What the operator gave is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin, such as https://app.example.org: a scheme and a host, and a port if it needs one")]
pub struct NoOrigin;

impl FromStr for PageOrigin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<PageOrigin, NoOrigin> {
        // Schemes and hosts are alike in any case.
        let text = text.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://").ok_or(NoOrigin)?;
        let is_word = |word: &str, others: &str| {
            !word.is_empty() && word.chars().all(|it| it.is_ascii_alphanumeric() || others.contains(it))
        };
        if !is_word(scheme, "+-.") || !is_word(host, "-._:[]") {
            return Err(NoOrigin);
        }
        let own_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let host = host.strip_suffix(own_port).unwrap_or(host);
        Ok(PageOrigin(format!("{scheme}://{host}")))
    }
}

impl fmt::Display for PageOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Those whose pages may connect; none are all.
#[derive(Clone, Debug, Default)]
pub struct PageOrigins(Arc<[PageOrigin]>);

impl PageOrigins {
    /// Only these, if there are any.
    pub fn new(origins: Vec<PageOrigin>) -> PageOrigins {
        PageOrigins(origins.into())
    }

    /// Whether a request may be answered. One without an origin is not from a page, and those are what this is about.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(ORIGIN).iter();
        let is_known = |value: &str| value.parse().is_ok_and(|origin| self.0.contains(&origin));
        self.0.is_empty() || given.all(|value| value.to_str().is_ok_and(is_known))
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http::HeaderValue;

    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for (text, origin) in [
            ("https://app.example.org", Some("https://app.example.org")),
            ("HTTPS://App.Example.org:443", Some("https://app.example.org")),
            ("http://[::1]:80", Some("http://[::1]")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("https://app.example.org:80", Some("https://app.example.org:80")),
            ("app.example.org", None),
            ("https://app.example.org/", None),
            ("https://", None),
            ("://app", None),
            ("null", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(
                text.parse::<PageOrigin>().ok().map(|origin| origin.to_string()).as_deref(),
                origin,
                "{text}"
            );
        }
    }

    #[test]
    fn a_page_is_let_in_if_its_origin_is_known() {
        let known = PageOrigins::new(vec!["https://app.example.org".parse().unwrap()]);
        for (given, admitted) in [
            (&[][..], true),
            (&["https://app.example.org"], true),
            (&["https://app.example.org:443"], true),
            (&["http://app.example.org"], false),
            (&["https://app.example.org.evil.org"], false),
            (&["null"], false),
            (&[""], false),
            (&["https://app.example.org", "https://evil.org"], false),
        ] {
            let mut headers = HeaderMap::new();
            for origin in given {
                headers.append(ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(known.admit(&headers), admitted, "{given:?}");
            assert!(PageOrigins::default().admit(&headers), "{given:?}");
        }
    }
}
