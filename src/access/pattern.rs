//! Topic patterns of rules: filters in which the client's own names may stand.

use std::borrow::Cow;

use crate::topic::{FilterError, TopicFilter};

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The user name that was proved.
    pub username: Option<&'a str>,
    /// The client identifier.
    pub client_id: &'a str,
}

/// A topic filter in which `%c` stands for the client identifier and `%u` for the user name.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    filter: TopicFilter,
    has_names: bool,
}

impl Pattern {
    /// A pattern without names: `%` is a character like any other.
    pub fn literal(filter: &str) -> Result<Pattern, FilterError> {
        Ok(Pattern { filter: TopicFilter::parse(filter)?, has_names: false })
    }

    /// A pattern where `%c` and `%u` are names.
    pub fn parse(pattern: &str) -> Result<Pattern, FilterError> {
        let has_names = has_names(pattern);
        Ok(Pattern { filter: TopicFilter::parse(pattern)?, has_names })
    }

    /// The filter with the client's names in it. None where the client has not the name, or one that is no text within a
    /// level: who calls himself `#` gets nothing by it, and who calls himself `$SYS` nothing of the broker's own.
    pub fn filter(&self, subject: Subject<'_>) -> Option<Cow<'_, TopicFilter>> {
        if !self.has_names {
            return Some(Cow::Borrowed(&self.filter));
        }
        let is_text = |name: &&str| !name.is_empty() && !name.contains(['/', '+', '#', '\0']);
        let mut filled = String::new();
        let mut rest = self.filter.as_str();
        while let Some(at) = rest.find('%') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            let (text, len) = match from.as_bytes().get(1) {
                Some(b'c') => (Some(subject.client_id).filter(is_text)?, 2),
                Some(b'u') => (subject.username.filter(is_text)?, 2),
                _ => ("%", 1),
            };
            filled.push_str(text);
            rest = &from[len..];
        }
        filled.push_str(rest);
        if filled.starts_with('$') && !self.filter.as_str().starts_with('$') {
            return None;
        }
        TopicFilter::parse(&filled).ok().map(Cow::Owned)
    }
}

/// Whether a text has a place for a name.
pub fn has_names(text: &str) -> bool {
    text.contains("%c") || text.contains("%u")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_nothing_else() {
        let filter = |pattern: &str, username, client_id| {
            let pattern = Pattern::parse(pattern).expect("a pattern");
            pattern.filter(Subject { username, client_id }).map(|filter| filter.as_str().to_owned())
        };
        assert_eq!(filter("a/%c/%u/#", Some("u"), "c").as_deref(), Some("a/c/u/#"));
        assert_eq!(filter("%c-%u%%c%", Some("u"), "c").as_deref(), Some("c-u%c%"), "%% is no escape");
        assert_eq!(filter("a/%c", None, "c").as_deref(), Some("a/c"));
        assert_eq!(filter("a/%u", None, "c"), None);
        for name in ["", "#", "+", "a/b", "a+", "\0"] {
            assert_eq!(filter("a/%c", None, name), None, "{name:?}");
            assert_eq!(filter("a/%u", Some(name), "c"), None, "{name:?}");
        }
        assert_eq!(filter("%c/#", None, "$SYS"), None);
        assert_eq!(filter("%u/#", Some("$SYS"), "c"), None);
        assert_eq!(filter("$x/%c", None, "$c").as_deref(), Some("$x/$c"));
        let literal = Pattern::literal("a/%c").expect("a filter");
        assert_eq!(literal.filter(Subject::default()).expect("as it is").as_str(), "a/%c");
    }
}
