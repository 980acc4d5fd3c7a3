//! Where events are written: one line each, to stderr.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging. Libraries have a say only when something is wrong.
pub(super) fn init(level: LevelFilter) {
    let filter = Targets::new().with_target("rumormq", level).with_default(level.min(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    // Fails where a subscriber is installed, which then has the say.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}
