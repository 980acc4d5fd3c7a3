//! The cables between the nodes of a development cluster. What one node sends to another goes through this process, which
//! can lose it as a cut cable does: nobody is told, and both ends go on serving their clients.
//!
//! Each node listens on its own address and tells the others the address of its *plug*, which is here. What comes in at a
//! plug goes on to its node: datagrams from the plug of whoever sent them, so that they come from where its answers go to.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::owner;

/// How often to look for a port that is free for TCP and UDP.
const ATTEMPTS: usize = 100;
/// Bytes that are taken from a connection at a time.
const CHUNK: usize = 64 * 1024;

/// All cables.
pub(super) struct Cables {
    plugs: Arc<[Plug]>,
    /// Which are cut.
    cut: watch::Sender<Pairs>,
    /// What carries. It ends with this.
    _carriers: JoinSet<()>,
}

/// The place where others reach a node.
struct Plug {
    address: SocketAddr,
    /// Where the node itself listens.
    node: SocketAddr,
    udp: UdpSocket,
    /// The node's process, once it runs. Guards one number.
    process: RwLock<Option<u32>>,
}

/// Pairs of nodes, whichever comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pairs(BTreeSet<(u16, u16)>);

impl Cables {
    /// Gives each node, by where it listens, a plug.
    pub(super) async fn lay(nodes: impl Iterator<Item = SocketAddr>) -> io::Result<Cables> {
        let (mut plugs, mut listeners) = (Vec::new(), Vec::new());
        for node in nodes {
            let (listener, udp) = open().await?;
            let address = udp.local_addr()?;
            plugs.push(Plug { address, node, udp, process: RwLock::default() });
            listeners.push(listener);
        }
        let plugs: Arc<[Plug]> = plugs.into();
        let cut = watch::Sender::new(Pairs::default());
        let mut carriers = JoinSet::new();
        for (to, listener) in (0..).zip(listeners) {
            carriers.spawn(carry_datagrams(plugs.clone(), to, cut.subscribe()));
            carriers.spawn(carry_connections(plugs.clone(), listener, to, cut.subscribe()));
        }
        Ok(Cables { plugs, cut, _carriers: carriers })
    }

    /// Where others reach a node.
    pub(super) fn plug(&self, node: u16) -> SocketAddr {
        self.plugs[usize::from(node)].address
    }

    /// Says which process a node is, so that its connections are known.
    pub(super) fn runs_as(&self, node: u16, process: Option<u32>) {
        *self.plugs[usize::from(node)].process.write() = process;
    }

    /// Cuts the cable between two nodes.
    pub(super) fn cut(&self, one: u16, other: u16) {
        self.cut.send_modify(|cut| cut.insert(one, other));
    }

    /// Cuts a node off from all others.
    pub(super) fn cut_off(&self, node: u16) {
        let others = (0..).take(self.plugs.len()).filter(|other| *other != node);
        self.cut.send_modify(|cut| others.for_each(|other| cut.insert(node, other)));
    }

    /// Mends them all.
    pub(super) fn mend(&self) {
        self.cut.send_replace(Pairs::default());
    }
}

impl Pairs {
    fn insert(&mut self, one: u16, other: u16) {
        self.0.insert((one.min(other), one.max(other)));
    }

    /// Whoever is no node of this cluster has no cable here that could be cut.
    fn has(&self, one: Option<u16>, other: u16) -> bool {
        one.is_some_and(|one| self.0.contains(&(one.min(other), one.max(other))))
    }
}

/// A port that is free for both.
async fn open() -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(udp) => return Ok((listener, udp)),
            Err(error) if attempts == ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
}

async fn carry_datagrams(plugs: Arc<[Plug]>, to: u16, cut: watch::Receiver<Pairs>) {
    let plug = &plugs[usize::from(to)];
    let mut datagram = vec![0; usize::from(u16::MAX)];
    loop {
        // Errors here are about what was sent before, which may be lost.
        let Ok((len, source)) = plug.udp.recv_from(&mut datagram).await else { continue };
        let from = (0..).zip(plugs.iter()).find(|(_, plug)| plug.node == source).map(|(index, _)| index);
        if !cut.borrow().has(from, to) {
            let sender = from.map_or(plug, |from: u16| &plugs[usize::from(from)]);
            let _ = sender.udp.try_send_to(&datagram[..len], plug.node);
        }
    }
}

async fn carry_connections(plugs: Arc<[Plug]>, listener: TcpListener, to: u16, cut: watch::Receiver<Pairs>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, source)) => {
                    let (plugs, cut) = (plugs.clone(), cut.clone());
                    connections.spawn(async move {
                        let from = dialler(plugs.clone(), source, to).await;
                        // It has ended: both ends are told by that.
                        let _ = carry(stream, from, to, plugs[usize::from(to)].node, cut).await;
                    });
                }
                // Too many open files: there is nothing to do but to wait.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Which of the nodes has opened a connection to a plug.
async fn dialler(plugs: Arc<[Plug]>, source: SocketAddr, to: u16) -> Option<u16> {
    let look = move || {
        let socket = owner::socket_of(source, plugs[usize::from(to)].address)?;
        let mut nodes = (0..).zip(plugs.iter());
        nodes
            .find(|(_, plug)| plug.process.read().is_some_and(|process| owner::has(process, &socket)))
            .map(|(index, _)| index)
    };
    tokio::task::spawn_blocking(look).await.ok()?
}

async fn carry(
    mut stream: TcpStream,
    from: Option<u16>,
    to: u16,
    node: SocketAddr,
    mut cut: watch::Receiver<Pairs>,
) -> io::Result<()> {
    if cut.borrow().has(from, to) {
        // Over a cut cable none opens. Its node gives it up, or begins anew once the cable is mended.
        let mut lost = [0; 256];
        let given_up = async { while stream.read(&mut lost).await.is_ok_and(|len| len > 0) {} };
        tokio::select! {
            () = given_up => {}
            _ = cut.wait_for(|cut| !cut.has(from, to)) => {}
        }
        return Ok(());
    }
    let mut onward = TcpStream::connect(node).await?;
    stream.set_nodelay(true)?;
    onward.set_nodelay(true)?;
    let (there, back) = (stream.split(), onward.split());
    let is_cut = |cut: &Pairs| cut.has(from, to);
    tokio::select! {
        ended = pump(there.0, back.1, cut.clone(), is_cut) => ended,
        ended = pump(back.0, there.1, cut, is_cut) => ended,
    }
}

/// Passes on what comes, until one end closes. What is under way when the cable is cut arrives when it is mended, as with
/// TCP; so does the news that an end has closed.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut cut: watch::Receiver<Pairs>,
    is_cut: impl Fn(&Pairs) -> bool,
) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK];
    loop {
        let len = from.read(&mut bytes).await?;
        cut.wait_for(|cut| !is_cut(cut)).await.map_err(io::Error::other)?;
        match len {
            0 => return Ok(()),
            _ => to.write_all(&bytes[..len]).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn pairs_have_no_order_and_strangers_no_cable() {
        let mut pairs = Pairs::default();
        pairs.insert(2, 0);
        assert!(pairs.has(Some(0), 2) && pairs.has(Some(2), 0));
        assert!(!pairs.has(Some(0), 1) && !pairs.has(None, 2));
    }

    /// Two nodes that are this process: whoever dials is the first one.
    #[tokio::test]
    async fn what_is_under_way_when_a_cable_is_cut_comes_when_it_is_mended() {
        let (one, two) = (open().await.unwrap(), open().await.unwrap());
        let address = |node: &(TcpListener, UdpSocket)| node.1.local_addr().unwrap();
        let cables = Cables::lay([address(&one), address(&two)].into_iter()).await.unwrap();
        cables.runs_as(0, Some(std::process::id()));
        let mut dialled = TcpStream::connect(cables.plug(1)).await.unwrap();
        let (mut accepted, _) = two.0.accept().await.unwrap();
        dialled.write_all(b"before").await.unwrap();
        let mut bytes = [0; 6];
        accepted.read_exact(&mut bytes).await.unwrap();

        cables.cut_off(0);
        dialled.write_all(b"during").await.unwrap();
        let _late = TcpStream::connect(cables.plug(1)).await.unwrap();
        one.1.send_to(b"lost", cables.plug(1)).await.unwrap();
        // There is nothing to wait for where nothing is to come.
        assert!(timeout(Duration::from_millis(200), two.0.accept()).await.is_err());
        assert_eq!(accepted.try_read(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);

        cables.mend();
        timeout(PATIENCE, accepted.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(&bytes, b"during");
        one.1.send_to(b"kept", cables.plug(1)).await.unwrap();
        let mut datagram = [0; 16];
        let (len, source) = timeout(PATIENCE, two.1.recv_from(&mut datagram)).await.unwrap().unwrap();
        assert_eq!((&datagram[..len], source), (&b"kept"[..], cables.plug(0)));
    }
}
