//! Why the command failed.

use std::io;
use std::process::ExitCode;

use crate::config::ConfigErrors;
use crate::node::StartError;

/// What the command says before it exits with another code than 0.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The node does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system refuses something.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// Nodes of a development cluster did not do what they should.
    #[error("{0}")]
    Children(String),
    /// The node asked gave no usable answer.
    #[error("{0}")]
    Answer(String),
    /// A broker that was put under load did not do what it should.
    #[error("{0}")]
    Bench(String),
    /// The command was not used as it has to be.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl Failure {
    /// 2 where the operator has to say something else, 1 where trying again may help.
    pub(super) fn exit_code(&self) -> ExitCode {
        let usage = match self {
            Failure::Config(_) | Failure::Usage(_) => true,
            Failure::Start(error) => error.is_usage(),
            Failure::System(..)
            | Failure::Children(_)
            | Failure::Answer(_)
            | Failure::Bench(_)
            | Failure::File { .. } => false,
        };
        ExitCode::from(if usage { 2 } else { 1 })
    }
}
