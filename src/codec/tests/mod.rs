use super::packet::*;
use super::*;

#[test]
fn pings_and_empty_acks() {
    let mut out = Vec::new();
    encode(&Packet::PingReq, ProtocolVersion::V311, 100, &mut out).unwrap();
    assert_eq!(out, [0xC0, 0]);
    assert_eq!(decode(&out, ProtocolVersion::V311), Ok(Packet::PingReq));
}
