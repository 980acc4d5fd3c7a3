use std::fmt;
use std::str::Split;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::{MAX_LEN, Topic};

/// A valid topic filter (4.7), without a `$share/` prefix's meaning: that is [`SubscriptionFilter`]'s to read.
/// A clone shares the text.
///
/// [`SubscriptionFilter`]: super::SubscriptionFilter
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct TopicFilter(Arc<str>);

/// One level of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level<'a> {
    /// Matches the equal level; may be empty.
    Literal(&'a str),
    /// `+`: matches any one level.
    SingleLevel,
    /// `#`: matches the parent and any number of levels below; always the last.
    MultiLevel,
}

/// Why a text is no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It has no characters [MQTT-4.7.3-1].
    #[error("a topic filter has at least one character")]
    Empty,
    /// It has more than 65,535 bytes [MQTT-4.7.3-3].
    #[error("a topic filter has at most 65535 bytes")]
    TooLong,
    /// It contains U+0000 [MQTT-4.7.3-2].
    #[error("a topic filter does not contain U+0000")]
    Null,
    /// `+` or `#` shares its level with other characters [MQTT-4.7.1-1, MQTT-4.7.1-2].
    #[error("a wildcard fills its level of the topic filter")]
    WildcardInLevel,
    /// `#` is not the last level [MQTT-4.7.1-1].
    #[error("# is the last level of a topic filter")]
    MultiLevelNotLast,
    /// What follows `$share/` is not a share name and a filter [MQTT-4.8.2-1, MQTT-4.8.2-2].
    #[error("a shared subscription is $share/NAME/FILTER")]
    ShareIncomplete,
    /// The share name is empty, or contains `/`, `+`, `#` or U+0000 [MQTT-4.8.2-1, MQTT-4.8.2-2].
    #[error("a share name has at least one character, and none of / + # or U+0000")]
    ShareName,
}

impl TopicFilter {
    /// Checks `filter` and copies it.
    pub fn parse(filter: &str) -> Result<Self, FilterError> {
        check(filter)?;
        Ok(TopicFilter(filter.into()))
    }

    /// `#`.
    pub fn everything() -> Self {
        TopicFilter("#".into())
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, first to last.
    pub fn levels(&self) -> Levels<'_> {
        Levels(self.0.split('/'))
    }

    /// Whether any level is a wildcard.
    pub fn has_wildcards(&self) -> bool {
        self.0.contains(['+', '#'])
    }

    /// The levels before the first wildcard; all of them if there is none.
    pub fn literal_prefix(&self) -> impl Iterator<Item = &str> {
        self.levels().map_while(|level| match level {
            Level::Literal(text) => Some(text),
            Level::SingleLevel | Level::MultiLevel => None,
        })
    }

    /// Whether every topic that `other` matches is matched by this filter, too.
    pub fn covers(&self, other: &TopicFilter) -> bool {
        if other.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false; // [MQTT-4.7.2-1]
        }
        if &*self.0 == "+/#" && &*other.0 == "#" {
            return true; // A topic has a first level.
        }
        let mut others = other.levels();
        for level in self.levels() {
            match (level, others.next()) {
                (Level::MultiLevel, _) => return true,
                (Level::SingleLevel, Some(Level::SingleLevel | Level::Literal(_))) => {}
                (Level::Literal(text), Some(Level::Literal(other))) if text == other => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }

    /// Whether any topic is matched by both filters.
    pub fn overlaps(&self, other: &TopicFilter) -> bool {
        let beyond = |one: &TopicFilter, other: &TopicFilter| {
            one.0.starts_with('$') && other.0.starts_with(['+', '#']) // [MQTT-4.7.2-1]
        };
        if beyond(self, other) || beyond(other, self) {
            return false;
        }
        let (mut own, mut others) = (self.levels(), other.levels());
        loop {
            match (own.next(), others.next()) {
                (Some(Level::MultiLevel), _) | (_, Some(Level::MultiLevel)) | (None, None) => return true,
                (Some(Level::SingleLevel), Some(_)) | (Some(_), Some(Level::SingleLevel)) => {}
                (Some(Level::Literal(text)), Some(Level::Literal(other))) if text == other => {}
                _ => return false,
            }
        }
    }

    /// Whether a message published to `topic` is for this filter.
    pub fn matches(&self, topic: Topic<'_>) -> bool {
        if topic.is_system() && self.0.starts_with(['+', '#']) {
            return false; // [MQTT-4.7.2-1]
        }
        let mut names = topic.levels();
        for level in self.levels() {
            match (level, names.next()) {
                (Level::MultiLevel, _) => return true,
                (Level::SingleLevel, Some(_)) => {}
                (Level::Literal(text), Some(name)) if text == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

/// The levels of a filter; see [`TopicFilter::levels`].
#[derive(Clone, Debug)]
pub struct Levels<'a>(Split<'a, char>);

impl<'a> Iterator for Levels<'a> {
    type Item = Level<'a>;

    fn next(&mut self) -> Option<Level<'a>> {
        self.0.next().map(|text| match text {
            "+" => Level::SingleLevel,
            "#" => Level::MultiLevel,
            _ => Level::Literal(text),
        })
    }
}

fn check(filter: &str) -> Result<(), FilterError> {
    if filter.is_empty() {
        return Err(FilterError::Empty);
    }
    if filter.len() > MAX_LEN {
        return Err(FilterError::TooLong);
    }
    if filter.contains('\0') {
        return Err(FilterError::Null);
    }
    let mut levels = filter.split('/');
    while let Some(level) = levels.next() {
        match level {
            "+" => {}
            "#" if levels.next().is_none() => {}
            "#" => return Err(FilterError::MultiLevelNotLast),
            _ if level.contains(['+', '#']) => return Err(FilterError::WildcardInLevel),
            _ => {}
        }
    }
    Ok(())
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicFilter({:?})", &*self.0)
    }
}

impl TryFrom<String> for TopicFilter {
    type Error = FilterError;

    fn try_from(filter: String) -> Result<Self, FilterError> {
        check(&filter)?;
        Ok(TopicFilter(filter.into()))
    }
}

impl Serialize for TopicFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
