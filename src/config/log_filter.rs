//! Which events are logged, and how.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;

/// A level for everything, and others for modules whose names begin as said.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFilter {
    /// Least severe events that are logged.
    pub level: LevelFilter,
    /// Exceptions: the beginning of a module's path, such as `rumormq::cluster`, and the level there. The longest that fits counts.
    pub modules: Vec<(String, LevelFilter)>,
}

/// A text is no [`LogFilter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of off, error, warn, info, debug and trace, or a list such as info,rumormq::cluster=debug")]
pub struct InvalidLogFilter;

impl From<LevelFilter> for LogFilter {
    fn from(level: LevelFilter) -> LogFilter {
        LogFilter { level, modules: Vec::new() }
    }
}

impl FromStr for LogFilter {
    type Err = InvalidLogFilter;

    fn from_str(text: &str) -> Result<LogFilter, InvalidLogFilter> {
        let (mut level, mut modules) = (None, Vec::new());
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                Some((module, level)) if !module.is_empty() => {
                    modules.push((module.to_owned(), named(level)?))
                }
                None if level.is_none() => level = Some(named(part)?),
                _ => return Err(InvalidLogFilter),
            }
        }
        Ok(LogFilter { level: level.unwrap_or(LevelFilter::INFO), modules })
    }
}

/// Numbers would do as well, and say nothing.
fn named(level: &str) -> Result<LevelFilter, InvalidLogFilter> {
    let is_name = level.bytes().all(|byte| byte.is_ascii_alphabetic()) && !level.is_empty();
    level.parse().ok().filter(|_| is_name).ok_or(InvalidLogFilter)
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogFilter({self})")
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        self.modules.iter().try_for_each(|(module, level)| write!(f, ",{module}={level}"))
    }
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, module, what happened, and the details as `name=value`.
    #[default]
    Text,
    /// For programs: an object a line, with `timestamp`, `level`, `target`, `message`, and the details under their names.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<LogFormat, ()> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}
