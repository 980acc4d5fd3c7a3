//! Where events are written: one line each, to stderr.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFilter;

/// The log of this process.
pub(super) struct Log {
    filter: Handle<Targets, Registry>,
}

impl Log {
    /// Logs what this lets pass, from now on.
    pub(super) fn set_filter(&self, filter: &LogFilter) {
        // Fails only where the subscriber is gone, and nobody logs any more.
        let _ = self.filter.reload(targets(filter));
    }
}

/// Starts logging.
pub(super) fn init(filter: &LogFilter) -> Log {
    let (targets, handle) = reload::Layer::new(targets(filter));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    // Fails where a subscriber is installed, which then has the say.
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
    Log { filter: handle }
}

/// Libraries have a say only when something is wrong, unless they are named.
fn targets(filter: &LogFilter) -> Targets {
    Targets::new()
        .with_target("rumormq", filter.level)
        .with_default(filter.level.min(LevelFilter::WARN))
        .with_targets(filter.modules.iter().cloned())
}
