//! Connections that were accepted and have not shown yet that they belong to the cluster.
//!
//! There is room for a fixed number of them. One too many ends the one that has taken longest: whoever belongs here is through
//! in milliseconds, so that connections which say nothing cannot keep him out.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Handshakes under way at a time. Whoever may not join cannot take more memory than they do.
const HANDSHAKES_MAX: usize = 256;

/// The handshakes under way, the oldest first.
#[derive(Debug, Default)]
pub struct Handshakes {
    waiting: Mutex<VecDeque<Arc<Notify>>>,
}

/// The place of one of them, until it is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    handshakes: &'a Handshakes,
    lost: Arc<Notify>,
}

impl Handshakes {
    /// One more begins.
    pub fn enter(&self) -> Place<'_> {
        let lost = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock();
        waiting.push_back(lost.clone());
        if waiting.len() > HANDSHAKES_MAX
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.notify_one();
        }
        Place { handshakes: self, lost }
    }
}

impl Place<'_> {
    /// Resolves when it has to make room.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.waiting.lock().retain(|other| !Arc::ptr_eq(other, &self.lost));
    }
}
