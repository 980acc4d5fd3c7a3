//! The ports of a development cluster.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Where the nodes of a development cluster listen. The n-th node (from 0) has MQTT on `base + n`, its cluster port 6,000
/// and its HTTP port 16,200 above: 1883, 7883 and 18083 for the first one with the default base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    base: u16,
}

impl Ports {
    const CLUSTER: u16 = 6000;
    const HTTP: u16 = 16_200;
    /// Most nodes that a development cluster has.
    pub(super) const MAX_NODES: u16 = 50;
    /// Highest base at which all nodes find their ports.
    pub(super) const MAX_BASE: u16 = u16::MAX - Ports::HTTP - Ports::MAX_NODES;

    /// The ports that count from `base`, at most [`Ports::MAX_BASE`].
    pub(super) fn new(base: u16) -> Ports {
        Ports { base: base.min(Ports::MAX_BASE) }
    }

    pub(super) fn mqtt(self, index: u16) -> SocketAddr {
        loopback(self.base + index)
    }

    pub(super) fn cluster(self, index: u16) -> SocketAddr {
        loopback(self.base + Ports::CLUSTER + index)
    }

    pub(super) fn http(self, index: u16) -> SocketAddr {
        loopback(self.base + Ports::HTTP + index)
    }

    /// The first port that is taken, with what it is for; none if all are free.
    pub(super) fn taken(self, nodes: u16) -> Option<(&'static str, SocketAddr, std::io::Error)> {
        let tcp = |address| TcpListener::bind(address).map(drop);
        let both = |address| tcp(address).and_then(|()| UdpSocket::bind(address).map(drop));
        for index in 0..nodes {
            let tried = [
                ("MQTT", self.mqtt(index), tcp(self.mqtt(index))),
                ("cluster", self.cluster(index), both(self.cluster(index))),
                ("HTTP", self.http(index), tcp(self.http(index))),
            ];
            for (what, address, result) in tried {
                if let Err(error) = result {
                    return Some((what, address, error));
                }
            }
        }
        None
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_base_gives_the_default_ports() {
        let ports = Ports::new(1883);
        let of = |index| (ports.mqtt(index).port(), ports.cluster(index).port(), ports.http(index).port());
        assert_eq!(of(0), (1883, 7883, 18083));
        assert_eq!(of(2), (1885, 7885, 18085));
    }

    #[test]
    fn a_taken_port_is_named() {
        // Not every free port is the cluster port of some base.
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = |held: &UdpSocket| held.local_addr().unwrap().port();
        let fits = |held: &UdpSocket| port(held) <= Ports::MAX_BASE + Ports::CLUSTER;
        let held = std::iter::repeat_with(bind).find(fits).unwrap();
        let port = port(&held);
        let ports = Ports { base: port - Ports::CLUSTER };
        let (what, address, _) = ports.taken(1).expect("a taken port");
        // The MQTT and HTTP ports beside it may be taken by others; the cluster port is by us.
        assert!(what != "cluster" || address.port() == port, "{what} {address}");
    }
}
