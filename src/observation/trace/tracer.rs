//! The traces that are going on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::event::{Happening, TraceEvent};
use super::queue::Queue;
use super::selector::Selector;
use crate::topic::Topic;

/// Traces at a time.
pub const TRACES_MAX: usize = 8;
/// A trace that nobody has read for so long ends.
const UNREAD_MAX: Duration = Duration::from_secs(15);

/// All traces of a node. While there is none, all that it costs is a look at one of its two flags.
#[derive(Debug, Default)]
pub struct Tracer {
    /// Some are of clients.
    clients: AtomicBool,
    /// Some are of topics.
    topics: AtomicBool,
    /// Guards which there are. A leaf: no lock is taken under it but those of queues.
    traces: RwLock<Vec<Arc<Trace>>>,
    lost: Arc<AtomicU64>,
}

/// What somebody wants traced.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What the trace is known by; the same reader comes back with it.
    pub id: String,
    /// What it is about.
    pub selector: Selector,
    /// Most bytes of a payload that are told.
    pub payload_max: usize,
    /// It ends after this.
    pub time: Duration,
}

/// As many as can be are going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} traces are going on already: end one, or wait until it ends", TRACES_MAX)]
pub struct TracerFull;

/// One trace.
#[derive(Debug)]
pub struct Trace {
    order: Order,
    ends_at: Instant,
    over: AtomicBool,
    /// Guards what waits for the reader, and when he came last. A leaf, taken under clients' locks.
    state: Mutex<State>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    read_at: Instant,
}

/// What a reader gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Oldest first.
    pub events: Vec<TraceEvent>,
}

impl Tracer {
    /// Whether a client may be traced.
    #[inline]
    pub fn is_on_clients(&self) -> bool {
        self.clients.load(Ordering::Relaxed)
    }

    /// Whether a topic may be traced.
    #[inline]
    pub fn is_on_topics(&self) -> bool {
        self.topics.load(Ordering::Relaxed)
    }

    /// The trace of this order, and whether it has begun just now: for a reader who has had events already, anew.
    pub fn begin(
        &self,
        order: Order,
        after: u64,
        now: Instant,
        now_ms: u64,
    ) -> Result<(Arc<Trace>, bool), TracerFull> {
        let mut traces = self.traces.write();
        if let Some(trace) = traces.iter().find(|trace| trace.order.id == order.id) {
            return Ok((trace.clone(), false));
        }
        if traces.len() >= TRACES_MAX {
            return Err(TracerFull);
        }
        let trace = Arc::new(Trace::new(order, now, now_ms, self.lost.clone()));
        if after > 0 {
            let why = "the trace begins anew: nobody has read it for a while, or the node has restarted";
            let lost = TraceEvent { event: Happening::Lost, ..TraceEvent::default() };
            trace.push(now_ms, |_| lost.with("why", why));
        }
        traces.push(trace.clone());
        self.note(&traces);
        Ok((trace, true))
    }

    /// Ends what is over. Call it now and then.
    pub fn tidy(&self, now: Instant) {
        if self.is_on_clients() || self.is_on_topics() {
            let mut traces = self.traces.write();
            traces.retain(|trace| {
                let wanted = trace.is_wanted(now);
                if !wanted {
                    trace.end();
                }
                wanted
            });
            self.note(&traces);
        }
    }

    /// The traces of this client.
    pub fn of_client(&self, id: &str) -> Vec<Arc<Trace>> {
        self.find(|selector| selector.is_of_client(id))
    }

    /// The traces of this topic.
    pub fn of_topic(&self, topic: Topic<'_>) -> Vec<Arc<Trace>> {
        self.find(|selector| selector.is_of_topic(topic))
    }

    /// How many are going on.
    pub fn len(&self) -> usize {
        self.traces.read().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events that were left out because they came faster than they were read.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn find(&self, is_it: impl Fn(&Selector) -> bool) -> Vec<Arc<Trace>> {
        self.traces.read().iter().filter(|trace| is_it(&trace.order.selector)).cloned().collect()
    }

    fn note(&self, traces: &[Arc<Trace>]) {
        let of_clients = |trace: &Arc<Trace>| matches!(trace.order.selector, Selector::Client(_));
        self.clients.store(traces.iter().any(of_clients), Ordering::Relaxed);
        self.topics.store(!traces.iter().all(of_clients), Ordering::Relaxed);
    }
}

impl Trace {
    fn new(order: Order, now: Instant, now_ms: u64, lost: Arc<AtomicU64>) -> Trace {
        // A trace that ends unread and begins again goes on with higher numbers, as long as fewer than a million events a
        // second come; and all of them are exact in a JavaScript number.
        let queue = Queue::new(now_ms << 10);
        let ends_at = now + order.time;
        let state = Mutex::new(State { queue, read_at: now });
        Trace { order, ends_at, over: AtomicBool::new(false), state, lost }
    }

    /// What it is about.
    pub fn selector(&self) -> &Selector {
        &self.order.selector
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Tells the reader what `make` makes, given the most bytes of a payload.
    pub fn push(&self, at_ms: u64, make: impl FnOnce(usize) -> TraceEvent) {
        if !self.is_over() && !self.state.lock().queue.push(at_ms, || make(self.order.payload_max)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What has happened after the event of that number, of at most so many bytes.
    pub fn read(&self, after: u64, bytes_max: usize, now: Instant, now_ms: u64) -> Part {
        let mut state = self.state.lock();
        state.read_at = now;
        Part { events: state.queue.read(after, bytes_max, now_ms) }
    }

    /// Clients that do nothing know of it for a while yet: what it holds itself goes now.
    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.state.lock().queue = Queue::new(0);
    }

    fn is_wanted(&self, now: Instant) -> bool {
        now < self.ends_at && now.saturating_duration_since(self.state.lock().read_at) < UNREAD_MAX
    }
}
