//! The status page: one document that brings all it needs, and asks the API for what it shows.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

const MARKUP: &str = include_str!("status_page/page.html");
const STYLE: &str = include_str!("status_page/page.css");
const SCRIPT: &str = concat!(
    include_str!("status_page/table.js"),
    include_str!("status_page/picture.js"),
    include_str!("status_page/stream.js"),
    include_str!("status_page/page.js"),
);

static PAGE: LazyLock<Page> = LazyLock::new(Page::make);

struct Page {
    html: String,
    /// What a browser may do for it: run its own script and style, ask the node, and nothing else.
    policy: String,
}

impl Page {
    fn make() -> Page {
        let html = MARKUP.replacen("/* STYLE */", STYLE, 1).replacen("/* SCRIPT */", SCRIPT, 1);
        let hash = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE),
        );
        Page { html, policy }
    }
}

pub(super) async fn show() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, PAGE.policy.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE.html.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let Page { html, policy } = Page::make();
        assert!(html.contains(STYLE) && html.contains(SCRIPT));
        // Inside of its tags there is what is hashed, to the byte.
        assert!(html.contains(&format!("<style>{STYLE}</style>")));
        assert!(html.contains(&format!("<script type=\"module\">{SCRIPT}</script>")));
        for elsewhere in ["http://", "https://", "//cdn", "@import", "url(", "innerHTML", "eval("] {
            assert!(!html.contains(elsewhere), "{elsewhere}");
        }
        assert_eq!(html.matches("<script").count(), 1);
        assert!(!policy.contains("unsafe"));
    }
}
