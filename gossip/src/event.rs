//! What a node tells its application.

use std::time::Duration;

use crate::delta::SetId;
use crate::lane::Change;
use crate::membership::MemberState;
use crate::registers::Winner;
use crate::replica::{Incarnation, ReplicaId};

/// Something happened that the application may have to act on.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another replica's lane of a plain set has changed. Events of one lane come in its order. When a lane is dropped, all that it
    /// held is `removed`; a key that another lane still has stays in the set.
    Changed {
        /// Which set.
        set: SetId,
        /// Whose lane.
        replica: ReplicaId,
        /// What came and went.
        change: Change,
    },
    /// Another value counts now for a key of a stamped set, because of what others have written or of a lane that was
    /// dropped. With [`Cleared`](Event::Cleared), and with what this node's own writes answer, these are all changes in order: who
    /// applies them has at every moment what [`Node::winners`](crate::Node::winners) gives.
    ///
    /// Where `replaced` is of this node, and `winner` is not, somebody else has claimed what this node held. That is said once.
    Won {
        /// Which set.
        set: SetId,
        /// Key, value, stamp, and who wrote it.
        winner: Winner,
        /// The value that counted before; `None` if there was none.
        replaced: Option<Box<Winner>>,
    },
    /// A key of a stamped set has no value any more: it was cleared elsewhere, or went with a dropped replica.
    Cleared {
        /// Which set.
        set: SetId,
        /// The value that counted before.
        replaced: Winner,
    },
    /// The answer to [`Node::await_settled`](crate::Node::await_settled), in the order of `seq`: every live member that can
    /// be reached has applied `seq`, except those in `missed`.
    Settled {
        /// Which set.
        set: SetId,
        /// Sequence number in this node's lane.
        seq: u64,
        /// Live members that were not waited for any longer.
        missed: Vec<ReplicaId>,
    },
    /// The last linked peer has acknowledged a local change, so long after it was made. A sample: not every
    /// change of a burst is measured.
    Propagated {
        /// Which set.
        set: SetId,
        /// From the local change to the last acknowledgement.
        elapsed: Duration,
    },
    /// A member is in another state. `None` is unknown: before the first word of it, or after it was dropped. Whoever is
    /// dropped is told of once, with `to` being `None` or `Left`; `from` is `None` as well if it was known by hearsay only.
    Member {
        /// Who.
        replica: ReplicaId,
        /// The state before.
        from: Option<MemberState>,
        /// The state now.
        to: Option<MemberState>,
    },
    /// This node's copy of a lane had another content than its owner's. It is being fetched anew. Must never
    /// happen; alarm the operator.
    Diverged {
        /// Which set.
        set: SetId,
        /// Whose lane.
        replica: ReplicaId,
    },
    /// Two incarnations of one node serve at a time: the name was given twice. Both are kept; alarm the operator.
    Conflict {
        /// The one of lower incarnation.
        older: ReplicaId,
        /// The one of higher incarnation.
        newer: ReplicaId,
    },
    /// The application must call [`Node::restart_lane`](crate::Node::restart_lane): this lane is not accepted any more.
    RestartLane {
        /// Why.
        reason: RestartReason,
        /// The highest incarnation of this node that is known: the new one must be higher.
        after: Incarnation,
    },
}

/// Why a node must write to a new lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartReason {
    /// It was away for so long that others have forgotten it.
    Forgotten,
    /// A start of this node with a higher incarnation is known, and it does not live: this one's clock was behind. Others
    /// would take what it writes for older than that.
    Outdone,
    /// Others have more of its lane than it has written: its incarnation was used before. Alarm the operator.
    IncarnationReused,
}
