//! Who a client has proved to be.

use std::sync::Arc;

/// What is known of the owner of a connection. An anonymous client has no name, whatever it says in its CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    username: Option<Arc<str>>,
    is_node: bool,
}

impl Identity {
    /// Nobody in particular.
    pub const ANONYMOUS: Identity = Identity { username: None, is_node: false };

    /// A part of this node, which may do what it likes.
    pub const NODE: Identity = Identity { username: None, is_node: true };

    /// A user that has proved its name.
    pub fn user(name: Arc<str>) -> Identity {
        Identity { username: Some(name), is_node: false }
    }

    /// Whether it is a part of this node.
    pub fn is_node(&self) -> bool {
        self.is_node
    }

    /// The user name that was proved.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }
}
