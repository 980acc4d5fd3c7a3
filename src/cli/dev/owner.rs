//! Whose a connection is, as the system tells in `/proc`.

use std::fs;
use std::net::SocketAddr;

/// A socket, as a link in a process's list of open files names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket(String);

/// How often to look. A list of sockets that changes while it is read may lack some that were there all the time.
const LOOKS: usize = 10;

/// The TCP socket on this machine from one address to another, of IPv4.
pub(super) fn socket_of(local: SocketAddr, remote: SocketAddr) -> Option<Socket> {
    (0..LOOKS).find_map(|_| find(&fs::read_to_string("/proc/net/tcp").ok()?, local, remote))
}

/// Whether a process has it open.
pub(super) fn has(process: u32, socket: &Socket) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let is_it = |file: fs::DirEntry| {
        fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket.0.as_str())
    };
    files.flatten().any(is_it)
}

/// `table` has the sockets one a line, in columns: `number: local remote state queues timer retransmits user timeout inode`.
/// What has been closed is in it for a while, without an inode.
fn find(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<Socket> {
    let (local, remote) = (hexadecimal(local)?, hexadecimal(remote)?);
    table.lines().find_map(|line| {
        let row: Vec<&str> = line.split_whitespace().collect();
        let is_it = row.get(1) == Some(&local.as_str()) && row.get(2) == Some(&remote.as_str());
        let inode = row.get(9).filter(|inode| is_it && **inode != "0")?;
        Some(Socket(format!("socket:[{inode}]")))
    })
}

/// Addresses are in the machine's order of bytes; ports are as they are read.
fn hexadecimal(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_belongs_to_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (one, other) = (stream.local_addr().unwrap(), listener.local_addr().unwrap());
        let socket = socket_of(one, other).unwrap();
        assert!(has(std::process::id(), &socket));
        assert!(!has(1, &socket) && !has(u32::MAX, &socket));
        let (accepted, _) = listener.accept().unwrap();
        assert_ne!(socket_of(other, one).unwrap(), socket);
        drop(accepted);
        drop(stream);
        assert!(!has(std::process::id(), &socket));
        assert_eq!(socket_of(one, one), None);
        assert_eq!(socket_of("[::1]:1".parse().unwrap(), other), None);
    }
}
