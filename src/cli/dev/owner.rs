//! Whose a connection is, as the system tells in `/proc`.

use std::fs;
use std::net::SocketAddr;

/// A socket, as a link in a process's list of open files names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket(String);

/// The TCP socket on this machine whose own address this is, of IPv4.
pub(super) fn socket_of(address: SocketAddr) -> Option<Socket> {
    find(&fs::read_to_string("/proc/net/tcp").ok()?, address)
}

/// Whether a process has it open.
pub(super) fn has(process: u32, socket: &Socket) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket.0.as_str()))
}

/// `table` has the sockets one a line, in columns: `number: local remote state queues timer retransmits user timeout inode`.
/// Addresses are hexadecimal, in the machine's order of bytes; ports are as they are read.
fn find(table: &str, address: SocketAddr) -> Option<Socket> {
    let SocketAddr::V4(address) = address else { return None };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let row =
        table.lines().map(|line| line.split_whitespace()).find(|row| row.clone().nth(1) == Some(&local));
    Some(Socket(format!("socket:[{}]", row?.nth(9)?)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_its_processs() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = socket_of(stream.local_addr().unwrap()).unwrap();
        assert!(has(std::process::id(), &socket));
        assert!(!has(1, &socket) && !has(u32::MAX, &socket));
        let other = socket_of(listener.local_addr().unwrap()).unwrap();
        assert_ne!(socket, other);
        drop(stream);
        assert!(!has(std::process::id(), &socket));
        assert_eq!(socket_of("[::1]:1".parse().unwrap()), None);
    }
}
