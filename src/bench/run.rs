//! A run from its first connection to its last message.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::connection::{ClientError, Connection};
use super::histogram::Histogram;
use super::plan::{Plan, Shape};
use super::publisher::{Flow, Publisher};
use super::report::{Counts, Report, Times};
use super::stamp::Clock;
use super::subscriber::Subscriber;
use super::tally::{Sums, Tally};

/// How often is said how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How often is looked whether all has come.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How far a run is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Since publishing began.
    pub elapsed: Duration,
    /// Connections that are open.
    pub connections: u64,
    /// Messages sent in the last second.
    pub published: u64,
    /// Messages received in the last second.
    pub received: u64,
    /// Times of the messages received in the last second.
    pub latency: Times,
    /// Deliveries that are owed at this moment.
    pub outstanding: u64,
}

/// Runs a plan to its end, or until `stop` is ready. `tell` hears every second how far it is.
///
/// # Errors
/// A client cannot connect or subscribe, so that there is nothing to measure. (Of [`Shape::Idle`] that is counted.)
pub async fn run(
    plan: Plan,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(&Progress),
) -> Result<Report, ClientError> {
    let mut stop = pin!(stop);
    let plan = Arc::new(plan);
    let mut run = Run::new(&plan);
    let connected = {
        let connecting = run.connect(&plan, &mut tell);
        tokio::select! {
            connected = connecting => Some(connected?),
            () = &mut stop => None,
        }
    };
    if let Some(clients) = connected {
        run.publish(&plan, clients, stop, &mut tell).await?;
    }
    Ok(run.report(&plan))
}

/// Who is connected, in order.
#[derive(Default)]
struct Clients {
    publishers: Vec<Connection>,
    subscribers: Vec<Connection>,
}

struct Run {
    flows: Arc<Vec<Arc<Flow>>>,
    tallies: Vec<Arc<Mutex<Tally>>>,
    counts: Counts,
    before: (Sums, Histogram, u64),
}

#[derive(Clone, Copy)]
enum Role {
    Publisher,
    Subscriber,
}

impl Run {
    fn new(plan: &Plan) -> Run {
        let publishers =
            if plan.receivers() > 0 || plan.shape == Shape::Publish { plan.publishers } else { 0 };
        let tally = |subscriber| match plan.shape {
            Shape::Pairs => Tally::new(plan.run, subscriber as u32, 1),
            Shape::Subscribe => Tally::of_others(),
            Shape::FanOut | Shape::Publish | Shape::Idle => Tally::new(plan.run, 0, plan.publishers),
        };
        Run {
            flows: Arc::new((0..publishers).map(|_| Arc::new(Flow::default())).collect()),
            tallies: (0..subscribers(plan))
                .map(|subscriber| Arc::new(Mutex::new(tally(subscriber))))
                .collect(),
            counts: Counts::default(),
            before: (Sums::default(), Histogram::default(), 0),
        }
    }

    // ---- Connecting ----

    /// Opens all connections: those of subscribers first, which have subscribed then.
    async fn connect(
        &mut self,
        plan: &Arc<Plan>,
        tell: &mut impl FnMut(&Progress),
    ) -> Result<Clients, ClientError> {
        let began = Instant::now();
        let mut clients = Clients::default();
        let publishers = if plan.shape == Shape::Subscribe { 0 } else { plan.publishers };
        for (role, count) in [(Role::Subscriber, subscribers(plan)), (Role::Publisher, publishers)] {
            let connections = self.connect_all(plan, role, count, tell).await?;
            match role {
                Role::Publisher => clients.publishers = connections,
                Role::Subscriber => clients.subscribers = connections,
            }
        }
        self.counts.connecting = began.elapsed();
        Ok(clients)
    }

    async fn connect_all(
        &mut self,
        plan: &Arc<Plan>,
        role: Role,
        count: usize,
        tell: &mut impl FnMut(&Progress),
    ) -> Result<Vec<Connection>, ClientError> {
        let room = Arc::new(Semaphore::new(plan.connecting));
        let mut opening = JoinSet::new();
        for number in 0..count {
            let (plan, room) = (plan.clone(), room.clone());
            opening.spawn(async move {
                let _permit = room.acquire().await;
                let began = Instant::now();
                let opened = open(&plan, role, number).await;
                (number, began.elapsed(), opened)
            });
        }
        let mut opened: Vec<(usize, Connection)> = Vec::with_capacity(count);
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            let joined = tokio::select! {
                joined = opening.join_next() => joined,
                _ = ticks.tick() => {
                    tell(&Progress { connections: self.counts.connections, ..Progress::default() });
                    continue;
                }
            };
            let Some(joined) = joined else { break };
            let (number, took, connection) = joined.map_err(|error| ClientError::Lost(error.into()))?;
            match connection {
                Ok(connection) => {
                    self.counts.connections += 1;
                    self.counts.connect.record(took);
                    opened.push((number, connection));
                }
                Err(error) if plan.shape == Shape::Idle => self.counts.failed.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        opened.sort_unstable_by_key(|(number, _)| *number);
        Ok(opened.into_iter().map(|(_, connection)| connection).collect())
    }

    // ---- Publishing ----

    async fn publish(
        &mut self,
        plan: &Arc<Plan>,
        clients: Clients,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
        tell: &mut impl FnMut(&Progress),
    ) -> Result<(), ClientError> {
        let clock = Clock::start();
        let (stop_publishing, stopping) = watch::channel(false);
        let (end_all, ending) = watch::channel(false);
        let (mut publishing, mut receiving) = (JoinSet::new(), JoinSet::new());
        for (connection, tally) in clients.subscribers.into_iter().zip(&self.tallies) {
            let subscriber = Subscriber::new(plan, connection, tally.clone(), self.flows.clone(), clock);
            receiving.spawn(subscriber.run(ending.clone()));
        }
        let start = Instant::now();
        for (number, connection) in clients.publishers.into_iter().enumerate() {
            match self.flows.get(number) {
                Some(flow) => {
                    let publisher = Publisher::new(plan, number, connection, flow.clone(), clock)?;
                    publishing.spawn(publisher.run(start, stopping.clone()));
                }
                None => {
                    receiving.spawn(hold(connection, ending.clone()));
                }
            }
        }
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = sleep_until((start + plan.duration).into());
        let mut end = pin!(end);
        let mut stopped = false;
        // Nothing more is published, or nobody here publishes and the time is over.
        let mut finished: Option<Instant> = None;
        let (mut received, mut last_news) = (0, start);
        loop {
            tokio::select! {
                Some(ended) = publishing.join_next() => self.note_end(ended),
                Some(ended) = receiving.join_next() => self.note_end(ended),
                () = &mut stop, if !stopped => {
                    stopped = true;
                    let _ = stop_publishing.send(true);
                }
                () = &mut end, if !stopped => stopped = true,
                _ = ticks.tick() => self.tell(plan, start, publishing.len() + receiving.len(), tell),
                _ = looks.tick() => {}
            }
            let now = Instant::now();
            let total = self.received();
            if total > received {
                (received, last_news) = (total, now);
            }
            let has_published = publishing.is_empty() && (stopped || !self.flows.is_empty());
            if has_published && finished.is_none() {
                finished = Some(now);
                self.counts.publishing = now - start;
            }
            let Some(finished) = finished else { continue };
            let silent_since = last_news.max(finished);
            if received >= self.owed(plan) || receiving.is_empty() || now - silent_since >= plan.patience {
                break;
            }
        }
        // All that is owed has come; what comes twice, or to the wrong one, may be right behind it.
        if !self.tallies.is_empty() && received > 0 {
            tokio::time::sleep(10 * LOOK_EVERY).await;
        }
        self.counts.receiving = last_news - start;
        let _ = end_all.send(true);
        while let Some(ended) = receiving.join_next().await {
            self.note_end(ended);
        }
        Ok(())
    }

    fn note_end(&mut self, ended: Result<Result<(), ClientError>, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.counts.lost.push(error.to_string()),
            Err(error) => self.counts.lost.push(error.to_string()),
        }
    }

    // ---- Counting ----

    fn sent(&self) -> u64 {
        self.flows.iter().map(|flow| flow.sent.load(Ordering::Relaxed)).sum()
    }

    /// Different messages that have come.
    fn received(&self) -> u64 {
        match self.flows.is_empty() {
            false => self.flows.iter().map(|flow| flow.delivered.load(Ordering::Relaxed)).sum(),
            true => self.tallies.iter().map(|tally| tally.lock().received()).sum(),
        }
    }

    /// Deliveries of what was sent.
    fn owed(&self, plan: &Plan) -> u64 {
        let refused: u64 = self.flows.iter().map(|flow| flow.refused.load(Ordering::Relaxed)).sum();
        (self.sent() - refused) * plan.receivers() as u64
    }

    fn sums(&self) -> (Sums, Histogram) {
        let (mut sums, mut latency) = (Sums::default(), Histogram::default());
        for tally in &self.tallies {
            tally.lock().add_to(&mut sums, &mut latency);
        }
        (sums, latency)
    }

    fn tell(&mut self, plan: &Plan, start: Instant, connections: usize, tell: &mut impl FnMut(&Progress)) {
        let (sums, latency) = self.sums();
        let sent = self.sent();
        tell(&Progress {
            elapsed: start.elapsed(),
            connections: connections as u64,
            published: sent - self.before.2,
            received: sums.received - self.before.0.received,
            latency: Times::from(&latency.since(&self.before.1)),
            outstanding: self.owed(plan).saturating_sub(sums.received),
        });
        self.before = (sums, latency, sent);
    }

    fn report(mut self, plan: &Plan) -> Report {
        let counts = &mut self.counts;
        for flow in self.flows.iter() {
            counts.sent += flow.sent.load(Ordering::Relaxed);
            counts.acknowledged += flow.acknowledged.load(Ordering::Relaxed);
            counts.refused += flow.refused.load(Ordering::Relaxed);
            counts.acknowledgement.add(&flow.latency.lock());
        }
        for tally in &self.tallies {
            tally.lock().add_to(&mut counts.sums, &mut counts.latency);
        }
        Report::new(plan, counts)
    }
}

fn subscribers(plan: &Plan) -> usize {
    match plan.shape {
        Shape::Pairs => plan.publishers,
        Shape::FanOut | Shape::Subscribe => plan.subscribers,
        Shape::Publish | Shape::Idle => 0,
    }
}

async fn open(plan: &Plan, role: Role, number: usize) -> Result<Connection, ClientError> {
    let (addresses, name) = match role {
        Role::Publisher => (&plan.publish_at, "publisher"),
        Role::Subscriber => (&plan.subscribe_at, "subscriber"),
    };
    let address = &addresses[number % addresses.len()];
    let idle = plan.shape == Shape::Idle;
    let mut connection = Connection::open(plan, address, &plan.client_id(name, number), idle).await?;
    if matches!(role, Role::Subscriber) {
        connection.subscribe(&plan.filter_of(number), plan.qos).await?;
    }
    Ok(connection)
}

/// Keeps a connection open until the end is told.
async fn hold(mut connection: Connection, mut end: watch::Receiver<bool>) -> Result<(), ClientError> {
    loop {
        tokio::select! {
            did = connection.progress() => if did? {
                connection.handle_input(|_, _| Ok(()))?;
            },
            _ = end.changed() => break,
        }
    }
    connection.close().await;
    Ok(())
}
