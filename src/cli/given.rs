//! What a node is configured by: flags, environment and a file.

use std::path::PathBuf;

use clap::Args;

use super::flags::Flags;
use crate::config::{Resolution, Sources};

/// Arguments of what runs or checks a node.
#[derive(Debug, Args)]
pub(super) struct Given {
    /// Read settings from this TOML file [environment: RUMORMQ_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

impl Given {
    /// Says which variables of the environment are misspelled.
    pub(super) fn warn_of_misspelled(&self) {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for (name, meant) in Sources::misspelled(names) {
            tracing::warn!(
                "{name} is in the environment, and nobody reads it: check its name; did you mean {meant}?"
            );
        }
    }

    /// What they resolve to, now: files may have changed since the last time.
    pub(super) fn explain(&self) -> Resolution {
        let environment = |name: &str| std::env::var(name).ok();
        Sources { flags: &self.flags.0, environment: &environment, file: self.config.as_deref() }.explain()
    }
}
