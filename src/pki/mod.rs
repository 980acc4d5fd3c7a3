//! Certificates, keys and authorities, for everything that speaks TLS: read from PEM files, and what certificates say.
//!
//! It must not know who speaks to whom.

pub mod certificate;
pub mod files;

pub use files::FileError;
