//! What binds a message of a shared subscription to the session that was chosen for it, so that it is not lost with that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rumormq_gossip::ReplicaId;
use serde::{Deserialize, Serialize};

use crate::topic::SubscriptionFilter;

/// Keeps copies of messages it has given to members of groups elsewhere, and hears what becomes of them.
pub trait Origin: Send + Sync {
    /// The message of this claim is settled. Called once for each claim, possibly under a client's lock.
    fn settle(&self, claim: u64, settlement: Settlement);

    /// Who it is.
    fn replica(&self) -> &ReplicaId;
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settlement {
    /// A member has it, or it is not to be delivered any more.
    Consumed,
    /// Its member is gone: the origin chooses another.
    Returned,
    /// The member's session has moved to the node that says this, and the message with it.
    Moved,
}

/// Goes with a message of a shared subscription through a session's queue and window. Where nobody says that the message
/// was consumed before the last clone of the ticket is gone, the origin takes it for returned: so no message is lost on the
/// way, whatever path it takes.
pub struct Ticket {
    share: Arc<SubscriptionFilter>,
    claim: Option<Claim>,
}

struct Claim {
    origin: Arc<dyn Origin>,
    number: u64,
    state: AtomicU8,
}

const OPEN: u8 = 0;
const CONSUMED: u8 = 1;
/// Another node has it and settles it.
const MOVED: u8 = 2;

/// A ticket on its way to another node, with its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableTicket {
    /// The shared subscription.
    pub share: SubscriptionFilter,
    /// The origin, if that is another node than the one that the ticket comes from, and its claim.
    pub claim: Option<(ReplicaId, u64)>,
}

impl Ticket {
    /// For a message that was published on this node: it has no other origin than the session that holds it.
    pub fn local(share: Arc<SubscriptionFilter>) -> Ticket {
        Ticket { share, claim: None }
    }

    /// For a message that `origin` keeps a copy of, under this number.
    pub fn claimed(share: Arc<SubscriptionFilter>, origin: Arc<dyn Origin>, number: u64) -> Ticket {
        Ticket { share, claim: Some(Claim { origin, number, state: AtomicU8::new(OPEN) }) }
    }

    /// The shared subscription.
    pub fn share(&self) -> &Arc<SubscriptionFilter> {
        &self.share
    }

    /// Whether another node keeps a copy.
    pub fn is_claimed(&self) -> bool {
        self.claim.is_some()
    }

    /// In the form in which it goes to another node.
    pub fn portable(&self) -> PortableTicket {
        PortableTicket {
            share: (*self.share).clone(),
            claim: self.claim.as_ref().map(|claim| (claim.origin.replica().clone(), claim.number)),
        }
    }

    /// The message is with another node, which settles it.
    pub fn release(&self) {
        if let Some(claim) = &self.claim {
            claim.state.store(MOVED, Ordering::Release);
        }
    }

    /// The message need not go to anyone else.
    pub fn consume(&self) {
        if let Some(claim) = &self.claim {
            claim.state.store(CONSUMED, Ordering::Release);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let settlement = match *self.state.get_mut() {
            OPEN => Settlement::Returned,
            MOVED => return,
            _ => Settlement::Consumed,
        };
        self.origin.settle(self.number, settlement);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claim = self.claim.as_ref().map(|claim| claim.number);
        f.debug_struct("Ticket").field("share", &self.share).field("claim", &claim).finish()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;

    struct Heard(Mutex<Vec<(u64, Settlement)>>, ReplicaId);

    impl Origin for Heard {
        fn settle(&self, claim: u64, settlement: Settlement) {
            self.0.lock().push((claim, settlement));
        }

        fn replica(&self) -> &ReplicaId {
            &self.1
        }
    }

    #[test]
    fn an_origin_hears_of_each_claim_once() {
        let name = NodeName::parse("a@h").expect("a name");
        let replica = ReplicaId { name, incarnation: Incarnation(1) };
        let heard = Arc::new(Heard(Mutex::default(), replica.clone()));
        let share = Arc::new(SubscriptionFilter::parse("$share/g/t").expect("a filter"));
        let ticket = |number| Arc::new(Ticket::claimed(share.clone(), heard.clone(), number));
        let (consumed, lost, moved) = (ticket(1), ticket(2), ticket(3));
        assert_eq!(moved.portable().claim, Some((replica, 3)));
        moved.release();
        drop(moved);
        let clone = consumed.clone();
        consumed.consume();
        drop(consumed);
        assert!(heard.0.lock().is_empty(), "a clone is left");
        drop(clone);
        drop(lost);
        Ticket::local(share).consume();
        assert_eq!(*heard.0.lock(), [(1, Settlement::Consumed), (2, Settlement::Returned)]);
    }
}
