//! A network in memory: datagrams get lost and delayed, nodes are cut off. Runs under tokio's paused clock.
//!
//! The loss is drawn from a seed; chitchat draws its own randomness, so a run as a whole is not replayable.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::network::Datagrams;

#[derive(Clone)]
pub(super) struct Network(Arc<Mutex<State>>);

struct State {
    loss_percent: u64,
    /// Datagrams that arrive twice, and that arrive with a bit flipped.
    harm_percent: u64,
    random: u64,
    sockets: HashMap<SocketAddr, mpsc::Sender<(SocketAddr, Vec<u8>)>>,
    /// Nodes whose datagrams go nowhere.
    cut: HashSet<SocketAddr>,
    /// Pairs of nodes that do not reach each other.
    severed: HashSet<(SocketAddr, SocketAddr)>,
    longest: usize,
}

pub(super) struct SimulatedSocket {
    network: Network,
    address: SocketAddr,
    inbox: tokio::sync::Mutex<mpsc::Receiver<(SocketAddr, Vec<u8>)>>,
}

impl Network {
    pub(super) fn new(loss_percent: u64, seed: u64) -> Network {
        Network(Arc::new(Mutex::new(State {
            loss_percent,
            harm_percent: 0,
            random: seed,
            sockets: HashMap::new(),
            cut: HashSet::new(),
            severed: HashSet::new(),
            longest: 0,
        })))
    }

    pub(super) fn bind(&self, address: SocketAddr) -> Arc<SimulatedSocket> {
        let (sender, inbox) = mpsc::channel(1000);
        self.0.lock().unwrap().sockets.insert(address, sender);
        Arc::new(SimulatedSocket { network: self.clone(), address, inbox: tokio::sync::Mutex::new(inbox) })
    }

    /// From now on so many datagrams arrive twice, and as many damaged.
    pub(super) fn harm(&self, percent: u64) {
        self.0.lock().unwrap().harm_percent = percent;
    }

    /// The node is gone, as by loss of power.
    pub(super) fn cut_off(&self, address: SocketAddr) {
        self.0.lock().unwrap().cut.insert(address);
    }

    pub(super) fn reconnect(&self, address: SocketAddr) {
        self.0.lock().unwrap().cut.remove(&address);
    }

    pub(super) fn sever(&self, a: SocketAddr, b: SocketAddr) {
        self.0.lock().unwrap().severed.extend([(a, b), (b, a)]);
    }

    /// All pairs reach each other again.
    pub(super) fn heal(&self) {
        self.0.lock().unwrap().severed.clear();
    }

    /// Length of the longest datagram so far, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.0.lock().unwrap().longest
    }

    /// Delivers a datagram as if it came from `from`.
    pub(super) fn inject(&self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        let _ = self.0.lock().unwrap().sockets[&to].try_send((from, datagram));
    }
}

impl State {
    /// splitmix64.
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

#[async_trait]
impl Datagrams for SimulatedSocket {
    async fn ready(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let mut state = self.network.0.lock().unwrap();
        state.longest = state.longest.max(datagram.len());
        let lost = state.draw(100) < state.loss_percent
            || state.cut.contains(&self.address)
            || state.cut.contains(&to)
            || state.severed.contains(&(self.address, to));
        let Some(inbox) = state.sockets.get(&to).filter(|_| !lost).cloned() else { return Ok(()) };
        let copies = if state.draw(100) < state.harm_percent { 2 } else { 1 };
        for _ in 0..copies {
            let delay = Duration::from_millis(1 + state.draw(20));
            let (from, inbox, mut datagram) = (self.address, inbox.clone(), datagram.to_vec());
            if state.draw(100) < state.harm_percent {
                let position = state.draw(datagram.len() as u64) as usize;
                datagram[position] ^= 1 << state.draw(8);
            }
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = inbox.try_send((from, datagram));
            });
        }
        Ok(())
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self.inbox.lock().await.recv().await {
            Some((from, datagram)) => {
                buffer[..datagram.len()].copy_from_slice(&datagram);
                Ok((datagram.len(), from))
            }
            None => std::future::pending().await,
        }
    }
}
