//! Who a client has proved to be.

use std::sync::Arc;

/// What is known of the owner of a connection. An anonymous client has no name, whatever it says in its CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    username: Option<Arc<str>>,
}

impl Identity {
    /// Nobody in particular.
    pub const ANONYMOUS: Identity = Identity { username: None };

    /// A user that has proved its name.
    pub fn user(name: Arc<str>) -> Identity {
        Identity { username: Some(name) }
    }

    /// The user name that was proved.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }
}
