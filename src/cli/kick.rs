//! `rumormq kick`: a client is to go.

use clap::Args;

use super::ask::print;
use super::client::{Client, Scope, parse, percent_encoded};
use super::failure::Failure;
use super::lists::name_missing;
use crate::admin::view::KickedView;

/// Arguments of `rumormq kick`.
#[derive(Debug, Args)]
pub(super) struct Kick {
    /// The client identifier
    #[arg(value_name = "ID")]
    id: String,
    /// Leave the client's session as it is: only its connection ends
    #[arg(long)]
    keep_session: bool,
    /// Where to look for the client
    #[arg(long, value_enum, default_value = "cluster")]
    scope: Scope,
    #[command(flatten)]
    client: Client,
}

impl Kick {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let path = format!("/api/v1/clients/{}", percent_encoded(&self.id));
        let session = if self.keep_session { "keep" } else { "end" };
        let parameters = [("scope", self.scope.name()), ("session", session)];
        let body = self.client.target.delete(&path, &parameters)?;
        if self.client.json {
            return print(&body);
        }
        let KickedView { nodes, missing, .. } = parse(&body)?;
        let what = if self.keep_session { "is disconnected from" } else { "and its session are gone from" };
        print(&format!("{} {what} {}", self.id.escape_debug(), nodes.join(", ")))?;
        name_missing(&missing);
        Ok(())
    }
}
