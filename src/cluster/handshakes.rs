//! Connections that were accepted and have not shown yet that they belong here: links without their proof of the cookie,
//! clients in the middle of TLS or of the opening of a WebSocket.
//!
//! There is room for a fixed number of them. One too many ends the one that has taken longest: whoever belongs here is through
//! in milliseconds, so that connections which say nothing cannot keep him out.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The handshakes under way, the oldest first.
#[derive(Debug)]
pub struct Handshakes {
    /// Most of them at a time. Whoever does not belong here cannot take more memory than they do.
    limit: usize,
    waiting: Mutex<VecDeque<Arc<Notify>>>,
}

/// The place of one of them, until it is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    handshakes: &'a Handshakes,
    lost: Arc<Notify>,
}

impl Handshakes {
    /// None yet, and room for `limit`.
    pub fn new(limit: usize) -> Handshakes {
        Handshakes { limit, waiting: Mutex::default() }
    }

    /// One more begins.
    pub fn enter(&self) -> Place<'_> {
        let lost = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock();
        waiting.push_back(lost.clone());
        if waiting.len() > self.limit
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_lost(place: &Place<'_>) -> bool {
        pin!(place.lost()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn one_too_many_ends_the_oldest() {
        let handshakes = Handshakes::new(2);
        let first = handshakes.enter();
        drop(handshakes.enter());
        let second = handshakes.enter();
        assert!(!is_lost(&first) && !is_lost(&second), "there is room for two");
        let third = handshakes.enter();
        assert!(is_lost(&first) && !is_lost(&second) && !is_lost(&third));
        drop(first);
        let fourth = handshakes.enter();
        assert!(is_lost(&second) && !is_lost(&third) && !is_lost(&fourth));
    }
}
