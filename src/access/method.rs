//! Methods of enhanced authentication (4.12): client and server exchange data until the server knows who the client is.

use super::Identity;

/// A way to prove who one is that takes more than a user name and a password.
pub trait Method: Send + Sync {
    /// What a client calls it in its Authentication Method.
    fn name(&self) -> &str;

    /// Begins an exchange with one client.
    fn begin(&self) -> Box<dyn Exchange>;
}

/// One client's proof under way. It runs on the threads that serve all clients, and must not block.
pub trait Exchange: Send {
    /// Takes what the client says; none where it says nothing, which only the first step can see.
    fn step(&mut self, data: Option<&[u8]>) -> Step;
}

/// What the server does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It says this and waits for the client.
    Continue(Vec<u8>),
    /// It knows who the client is, and says this with its yes.
    Done(Identity, Vec<u8>),
    /// It does not believe the client. The exchange is over.
    Refused,
}
