//! Publishes that wait for their session to be somewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Stray;

/// Messages that wait for one session.
const MESSAGES_MAX: usize = 10_000;
/// Bytes of all that wait for any.
const BYTES_MAX: usize = 64 << 20;
/// Sessions that something may wait for before they have come.
const EARLY_MAX: usize = 10_000;

/// What waits for one session, oldest first.
#[derive(Debug)]
pub struct Waiting {
    strays: Vec<Stray>,
    bytes: usize,
    /// Of all together.
    total: Arc<AtomicUsize>,
}

impl Waiting {
    /// Nothing waits; `total` counts the bytes of all that does.
    pub fn new(total: &Arc<AtomicUsize>) -> Waiting {
        Waiting { strays: Vec::new(), bytes: 0, total: total.clone() }
    }

    /// One more; given back where there is no room for it.
    pub fn push(&mut self, stray: Stray) -> Result<(), Stray> {
        let size = stray.size();
        if self.strays.len() >= MESSAGES_MAX || self.total.load(Ordering::Relaxed) + size > BYTES_MAX {
            return Err(stray);
        }
        self.total.fetch_add(size, Ordering::Relaxed);
        self.bytes += size;
        self.strays.push(stray);
        Ok(())
    }

    /// All that waits.
    pub fn take(&mut self) -> Vec<Stray> {
        self.total.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        std::mem::take(&mut self.strays)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.take();
    }
}

/// What came for sessions that are on their way here.
#[derive(Debug, Default)]
pub struct EarlyStrays {
    sessions: Mutex<HashMap<Arc<str>, Waiting>>,
    total: Arc<AtomicUsize>,
}

impl EarlyStrays {
    /// Its session is still to come. Given back where there is no room.
    pub fn hold(&self, stray: Stray) -> Result<(), Stray> {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= EARLY_MAX && !sessions.contains_key(&stray.client) {
            return Err(stray);
        }
        sessions.entry(stray.client.clone()).or_insert_with(|| Waiting::new(&self.total)).push(stray)
    }

    /// Its session may be here, but what came before may still wait: then it waits behind that. Given back where nothing does;
    /// an error where there is no room.
    pub fn hold_behind(&self, stray: Stray) -> Result<Option<Stray>, Stray> {
        match self.sessions.lock().get_mut(&stray.client) {
            Some(waiting) => waiting.push(stray).map(|()| None),
            None => Ok(Some(stray)),
        }
    }

    /// The session is here, or does not come: what waits for it, oldest first. Ask again once that is delivered: what comes
    /// meanwhile waits as well. Nothing does any more when there is nothing left.
    pub fn take(&self, client: &str) -> Vec<Stray> {
        let mut sessions = self.sessions.lock();
        let early = sessions.get_mut(client).map(Waiting::take).unwrap_or_default();
        if early.is_empty() {
            sessions.remove(client);
        }
        early
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::stray;
    use super::*;

    #[test]
    fn what_comes_while_others_are_delivered_waits_behind_them() {
        let early = EarlyStrays::default();
        assert!(matches!(early.hold_behind(stray("x", 1)), Ok(Some(_))), "nothing waits");
        early.hold(stray("x", 1)).expect("there is room");
        assert!(matches!(early.hold_behind(stray("x", 1)), Ok(None)));
        assert_eq!(early.take("x").len(), 2);
        assert!(matches!(early.hold_behind(stray("x", 1)), Ok(None)), "two are being delivered");
        assert_eq!(early.take("x").len(), 1);
        assert_eq!(early.take("x").len(), 0);
        assert!(matches!(early.hold_behind(stray("x", 1)), Ok(Some(_))));
        assert_eq!(early.total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let early = EarlyStrays::default();
        let held = (0..=MESSAGES_MAX).filter(|_| early.hold(stray("x", 1)).is_ok()).count();
        assert_eq!(held, MESSAGES_MAX);
        early.hold(stray("y", 1)).expect("the other one's room");
        early.total.store(BYTES_MAX, Ordering::Relaxed);
        assert!(early.hold(stray("y", 1)).is_err());
    }
}
