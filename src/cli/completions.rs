//! `rumormq completions`: what a shell needs to complete the command's words.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;
use super::ask::print;
use super::failure::Failure;

/// Arguments of `rumormq completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "rumormq", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
