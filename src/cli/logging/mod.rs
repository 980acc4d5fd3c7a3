//! Where events are written: one line each, to stderr.

mod limiter;

use std::convert::Infallible;
use std::io;
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogFilter, LogFormat};
use limiter::{Limiter, Suppressed};

/// The log of this process.
pub(super) struct Log {
    filter: Handle<Targets, Registry>,
    limiter: Limiter,
}

impl Log {
    /// Logs what this lets pass, from now on.
    pub(super) fn set_filter(&self, filter: &LogFilter) {
        // Fails only where the subscriber is gone, and nobody logs any more.
        let _ = self.filter.reload(targets(filter));
    }

    /// Says again and again what was left out. Never ends.
    pub(super) async fn tell_suppressed(&self) -> Infallible {
        let mut ticks = tokio::time::interval(limiter::WINDOW);
        loop {
            ticks.tick().await;
            for Suppressed { lines, level, message } in self.limiter.poll(Instant::now()) {
                // As severe as what it stands for; the level of an event is part of the program.
                match level {
                    tracing::Level::ERROR => tracing::error!(
                        reason = message,
                        "{lines} more like this suppressed: look at the first of them"
                    ),
                    tracing::Level::WARN => tracing::warn!(
                        reason = message,
                        "{lines} more like this suppressed: look at the first of them"
                    ),
                    _ => tracing::info!(reason = message, "{lines} more like this suppressed"),
                }
            }
        }
    }
}

/// Starts logging.
pub(super) fn init(filter: &LogFilter, format: LogFormat) -> Log {
    let (targets, handle) = reload::Layer::new(targets(filter));
    let limiter = Limiter::default();
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Fails where a subscriber is installed, which then has the say.
    let _ = tracing_subscriber::registry().with(targets).with(limiter.clone()).with(lines).try_init();
    Log { filter: handle, limiter }
}

/// Libraries have a say only when something is wrong, unless they are named.
fn targets(filter: &LogFilter) -> Targets {
    Targets::new()
        .with_target("rumormq", filter.level)
        .with_default(filter.level.min(LevelFilter::WARN))
        .with_targets(filter.modules.iter().cloned())
}
