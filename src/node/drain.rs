//! Draining a node: its clients go to other nodes, at a set pace, and their sessions after them.
//!
//! First `/readyz` turns red, and load balancers get time to notice. Then no client is let in any more; those that are here are
//! told to go, so many a second, and may take their sessions with them by connecting elsewhere. A session whose client
//! does not come back anywhere is offered to another node. At the end others get the publishes that wait for a delay, and what is
//! left to be said.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::departure::{Departure, DrainPlan, Progress};
use crate::admin::DrainStage;
use crate::broker::client::Client;
use crate::broker::{Broker, Whereabouts};
use crate::cluster::Cluster;
use crate::cluster::takeover::Refuge;

/// A node that is drained stays for so long, for those who ask how far it is.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two looks at what there is to do.
const TICK: Duration = Duration::from_millis(50);
/// A client that was sent away has so long to connect elsewhere before its session is offered.
const RETURN: Duration = Duration::from_secs(1);
/// Sessions that are offered at a time.
const OFFERS_MAX: usize = 128;
/// After this an offer that came to nothing is made again, perhaps to another node.
const OFFER_AGAIN: Duration = Duration::from_secs(10);

/// A node's drain. It does nothing until it is asked to.
pub struct Drain {
    pub broker: Arc<Broker>,
    pub cluster: Arc<Cluster>,
    pub departure: Arc<Departure>,
    /// Whether clients may be told the addresses of other nodes.
    pub names_nodes: bool,
}

/// The clients of a node, each where it is in the course of going.
#[derive(Default)]
struct Residents {
    /// To be sent away.
    connected: Vec<Arc<Client>>,
    /// Without a connection; not offered before that time.
    away: VecDeque<(Instant, Arc<Client>)>,
    /// Offered at that time.
    offered: Vec<(Instant, Arc<Client>)>,
}

impl Drain {
    /// Waits until a drain is asked for, and runs it.
    pub async fn run(self) {
        let plan = self.departure.drain_asked().await;
        tracing::info!(rate = plan.rate, grace = ?plan.grace, "the node is drained, and then leaves");
        super::note(&self.cluster, "is drained, and then leaves");
        self.cluster.announce_drain();
        self.note(Progress { clients: self.connected(), ..Progress::default() });
        tokio::time::sleep(plan.grace).await;
        let mut progress = self.move_all(plan).await;
        progress.stage = DrainStage::Flushing;
        self.note(progress);
        self.cluster.hand_over_delayed(self.broker.take_delayed(Instant::now())).await;
        self.cluster.flush().await;
        tracing::info!(sessions = progress.sessions_moved, "the node is drained");
        super::note(&self.cluster, "has been drained");
        progress.stage = DrainStage::Leaving;
        self.note(progress);
        tokio::time::sleep(FAREWELL).await;
    }

    fn note(&self, progress: Progress) {
        self.departure.note(progress);
    }

    fn connected(&self) -> usize {
        usize::try_from(self.broker.metrics.connections.get()).unwrap_or(0)
    }

    /// Returns when nobody is left.
    async fn move_all(&self, plan: DrainPlan) -> Progress {
        let (mut residents, mut progress) = (Residents::default(), Progress::default());
        let (mut last, mut may_go) = (Instant::now(), 0.0);
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let now = ticks.tick().await.into_std();
            let refuges = self.cluster.refuges();
            let told = if self.names_nodes { refuges.clone() } else { without_addresses(&refuges) };
            self.broker.send_elsewhere(told);
            if residents.is_empty() {
                residents = self.find(now);
                if residents.is_empty() {
                    return progress;
                }
            }
            progress.stage = DrainStage::Moving;
            if refuges.is_empty() {
                progress.stage = DrainStage::NoOtherNode;
            } else {
                may_go =
                    (may_go + (now - last).as_secs_f64() * f64::from(plan.rate)).min(f64::from(plan.rate));
                self.send_off(&mut residents, &mut may_go, &mut progress, now);
                self.offer(&mut residents, &refuges, now);
            }
            last = now;
            self.settle(&mut residents, &mut progress, now);
            progress.clients = residents.connected.len();
            progress.sessions = residents.away.len() + residents.offered.len();
            self.note(progress);
        }
    }

    /// Who is here. Clients that were away before need not be waited for.
    fn find(&self, now: Instant) -> Residents {
        let mut residents = Residents::default();
        for client in self.broker.residents() {
            match self.broker.whereabouts(&client) {
                Whereabouts::Here => residents.connected.push(client),
                Whereabouts::Away => residents.away.push_back((now, client)),
                Whereabouts::Moved | Whereabouts::Over => {}
            }
        }
        residents
    }

    fn send_off(&self, residents: &mut Residents, may_go: &mut f64, progress: &mut Progress, now: Instant) {
        while *may_go >= 1.0 {
            let Some(client) = residents.connected.pop() else { return };
            if self.broker.whereabouts(&client) == Whereabouts::Here {
                self.broker.send_off(&client);
                *may_go -= 1.0;
                progress.clients_sent_away += 1;
            }
            residents.away.push_back((now + RETURN, client));
        }
    }

    fn offer(&self, residents: &mut Residents, refuges: &[Refuge], now: Instant) {
        while residents.offered.len() < OFFERS_MAX
            && let Some((_, client)) = residents.away.pop_front_if(|(due, _)| *due <= now)
        {
            match self.broker.whereabouts(&client) {
                // It takes its time to go.
                Whereabouts::Here => residents.away.push_back((now + RETURN, client)),
                Whereabouts::Away => {
                    self.broker.offer_session(&client, refuges);
                    residents.offered.push((now, client));
                }
                Whereabouts::Moved | Whereabouts::Over => residents.offered.push((now, client)),
            }
        }
    }

    /// Looks what has become of those that were offered.
    fn settle(&self, residents: &mut Residents, progress: &mut Progress, now: Instant) {
        let away = &mut residents.away;
        residents.offered.retain(|(since, client)| match self.broker.whereabouts(client) {
            Whereabouts::Moved => {
                progress.sessions_moved += 1;
                false
            }
            Whereabouts::Over => false,
            Whereabouts::Here | Whereabouts::Away if now - *since >= OFFER_AGAIN => {
                away.push_back((now, client.clone()));
                false
            }
            Whereabouts::Here | Whereabouts::Away => true,
        });
    }
}

impl Residents {
    fn is_empty(&self) -> bool {
        self.connected.is_empty() && self.away.is_empty() && self.offered.is_empty()
    }
}

fn without_addresses(refuges: &[Refuge]) -> Vec<Refuge> {
    refuges.iter().map(|refuge| Refuge { mqtt: None, ..refuge.clone() }).collect()
}
