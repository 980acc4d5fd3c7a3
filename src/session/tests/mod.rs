//! Session scripts: what a client sends and what the session answers, as transcripts. See [`script`] for the language.

mod aliases;
mod bounds;
mod from_client;
mod moves;
mod resume;
mod script;
mod succession;
mod to_client;
