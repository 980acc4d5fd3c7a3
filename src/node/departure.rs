//! How a node goes: at once, or after it was drained. What it is asked, and how far it has got.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::admin::{DrainStage, DrainView, LeaveRequest};

/// What a node is to do before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// Clients that are sent away in a second.
    pub rate: u32,
    /// Time for load balancers to notice that the node is not ready any more.
    pub grace: Duration,
}

/// What is known of a node's end.
#[derive(Debug)]
pub struct Departure {
    default: DrainPlan,
    /// The node stops or leaves now.
    ending: AtomicBool,
    drain: Mutex<Option<Drain>>,
    drain_asked: Notify,
    leave_asked: Notify,
}

#[derive(Debug)]
struct Drain {
    plan: DrainPlan,
    since: Instant,
    progress: Progress,
}

/// How far a drain has got.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// What is going on.
    pub stage: DrainStage,
    /// Clients that are connected yet.
    pub clients: usize,
    /// Sessions without a connection that are here yet.
    pub sessions: usize,
    /// Clients that were sent away.
    pub clients_sent_away: u64,
    /// Sessions that other nodes have now.
    pub sessions_moved: u64,
}

impl Departure {
    /// Of a node that stays. A drain is like this unless more is said.
    pub fn new(default: DrainPlan) -> Departure {
        Departure {
            default,
            ending: AtomicBool::new(false),
            drain: Mutex::default(),
            drain_asked: Notify::new(),
            leave_asked: Notify::new(),
        }
    }

    /// The node is to leave: at once, unless a drain is asked for and has not begun yet.
    pub fn ask(&self, request: &LeaveRequest) {
        let mut drain = self.drain.lock();
        if !request.drain || drain.is_some() {
            return self.leave_asked.notify_one();
        }
        let plan = DrainPlan {
            rate: request.rate.map_or(self.default.rate, u32::from),
            grace: request.grace().unwrap_or(self.default.grace),
        };
        *drain = Some(Drain { plan, since: Instant::now(), progress: Progress::default() });
        self.drain_asked.notify_one();
    }

    /// Whether a drain was asked for.
    pub fn is_draining(&self) -> bool {
        self.drain.lock().is_some()
    }

    /// Resolves when a drain is asked for.
    pub async fn drain_asked(&self) -> DrainPlan {
        loop {
            if let Some(drain) = &*self.drain.lock() {
                return drain.plan;
            }
            self.drain_asked.notified().await;
        }
    }

    /// Resolves when the node is to leave now.
    pub async fn leave_asked(&self) {
        self.leave_asked.notified().await;
    }

    /// The drain has got so far. At its end the node is to leave.
    pub fn note(&self, progress: Progress) {
        if let Some(drain) = &mut *self.drain.lock() {
            drain.progress = progress;
        }
        if progress.stage == DrainStage::Leaving {
            self.leave_asked.notify_one();
        }
    }

    /// How far the drain has got, if there is one.
    pub fn view(&self) -> Option<DrainView> {
        self.drain.lock().as_ref().map(|drain| DrainView {
            stage: drain.progress.stage,
            clients: drain.progress.clients as u64,
            sessions: drain.progress.sessions as u64,
            clients_sent_away: drain.progress.clients_sent_away,
            sessions_moved: drain.progress.sessions_moved,
            seconds: drain.since.elapsed().as_secs_f64(),
        })
    }

    /// The node stops or leaves now.
    pub fn begin_end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Why clients should not be sent here, if they should not.
    pub fn reason(&self) -> Option<&'static str> {
        match self.ending.load(Ordering::Acquire) {
            true => Some("the node stops"),
            false => self.is_draining().then_some("the node is drained, and then leaves"),
        }
    }
}
