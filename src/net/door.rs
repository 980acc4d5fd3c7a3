//! What all listeners of a node share: how many may come in, and what is counted of those that fail to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::opening_error::OpeningError;
use super::proxy::TrustedProxies;
use crate::broker::Broker;
use crate::cluster::handshakes::Handshakes;

/// Handshakes of clients under way at a time, on all listeners.
const HANDSHAKES_MAX: usize = 4096;
/// Clients that are being told that all places are taken; more are closed without a word.
const REFUSALS_MAX: usize = 256;
/// Time between two lines of log about handshakes that failed.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The way in for clients, whichever listener they come to.
pub struct Door {
    broker: Arc<Broker>,
    /// Places that are taken.
    taken: Arc<AtomicUsize>,
    /// For clients that are told that all places are taken.
    refusals: Arc<Semaphore>,
    pub(super) handshakes: Handshakes,
    pub(super) proxies: TrustedProxies,
    /// Guards nothing but the pace of the log.
    reports: Mutex<Reports>,
}

/// What a connection holds while it is there.
#[derive(Debug)]
pub struct Place {
    /// Whether a client may be served on it.
    pub(super) is_open: bool,
    /// The setting that its listener is named by; of a part of this node, none.
    pub(super) listener: Option<&'static str>,
    _seat: Option<Seat>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// A place that takes none from clients.
    pub(super) const APART: Place = Place { is_open: true, listener: None, _seat: None, _permit: None };
}

/// One of the places that are taken.
#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Reports {
    last: Option<Instant>,
    /// Failures since then that were not logged.
    unsaid: u64,
}

impl Door {
    /// A door to this broker, within its limits, for clients and these proxies.
    pub fn new(broker: Arc<Broker>, proxies: TrustedProxies) -> Arc<Door> {
        Arc::new(Door {
            broker,
            taken: Arc::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            handshakes: Handshakes::new(HANDSHAKES_MAX),
            proxies,
            reports: Mutex::default(),
        })
    }

    /// The broker behind it.
    pub(super) fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// A place among the open connections. Where all are taken, which is counted, one to be refused in; none where too many
    /// are in the course of that.
    pub(super) fn enter(&self, listener: &'static str) -> Option<Place> {
        let listener = Some(listener);
        let seat = Seat(self.taken.clone());
        if self.taken.fetch_add(1, Ordering::Relaxed) < self.broker.limits().max_connections {
            return Some(Place { is_open: true, listener, _seat: Some(seat), _permit: None });
        }
        drop(seat);
        self.broker.metrics.connects.with_label_values(&["full"]).inc();
        let permit = self.refusals.clone().try_acquire_owned().ok()?;
        Some(Place { is_open: false, listener, _seat: None, _permit: Some(permit) })
    }

    /// Counts a handshake that failed, and logs one a second.
    pub(super) fn handle_failure(&self, listener: &'static str, error: &OpeningError, now: Instant) {
        self.broker.metrics.handshake_failures.with_label_values(&[listener, error.reason()]).inc();
        let mut reports = self.reports.lock();
        if reports.last.is_some_and(|last| now.duration_since(last) < REPORT_EVERY) {
            reports.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut reports.unsaid);
        reports.last = Some(now);
        drop(reports);
        tracing::warn!(listener, %error, others_since_last = unsaid, "a client's handshake failed: check what it speaks, and its certificates");
    }
}
