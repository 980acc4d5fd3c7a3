//! The vocabulary of membership. Who is alive is found out elsewhere (heartbeats by gossip, which travel any path);
//! what is observed there comes in as [`Observation`]s. Only *suspect* is decided here, where the links are known.

use serde::{Deserialize, Serialize};

use crate::delta::SetId;
use crate::head::Head;
use crate::replica::ReplicaId;

/// How a replica is doing, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// Its heartbeats arrive. Whether it can be reached is another question.
    Alive,
    /// Its heartbeats do not arrive, but a node that lives had an answer from it within the last second.
    Suspect,
    /// Neither. Its lanes are kept and hidden.
    Dead,
    /// It said that it stops. It may come back, as another incarnation.
    Stopped,
    /// It said that it leaves for good. Its lanes are dropped.
    Left,
}

impl MemberState {
    /// Whether it takes part: its elements count, changes are sent to it.
    pub fn is_live(self) -> bool {
        matches!(self, MemberState::Alive | MemberState::Suspect)
    }
}

/// What a replica says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It serves.
    #[default]
    Running,
    /// It stops. Final for the incarnation, like [`Left`](Status::Left).
    Stopped,
    /// It leaves for good.
    Left,
}

/// What membership gossip knows of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Who.
    pub replica: ReplicaId,
    /// Whether its heartbeats arrive. Those of an incarnation before the latest do not count until it is certain that they are no
    /// late ones.
    pub alive: bool,
    /// Its own word on what it does.
    pub status: Status,
    /// Its own word on its lanes. A lane with nothing in it yet is stated as well.
    pub heads: Vec<(SetId, Head)>,
}
