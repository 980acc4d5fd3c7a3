//! MQTT statement by statement. `mqtt_5_0.md` and `mqtt_3_1_1.md` list every numbered statement with the tests that cover
//! it, wherever they are; [`table`] sees to it that none is left out. The tests here are those that are there for a
//! statement alone, on sockets, mostly for both versions in one go.

mod connack;
mod connect;
mod delivery;
mod disconnect;
mod limits;
mod mqtt_3_1;
mod publish;
mod retained;
mod subscribe;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "other targets use it, too")]
mod support;
mod table;
mod web_socket;
mod will;

use rumormq::codec::packet::{Connect, ProtocolVersion};

use support::client::{Client, Q1, Q2, V311, V500, connect, lasting, publish};

const BOTH: [ProtocolVersion; 2] = [V311, V500];

/// A client of this version whose session ends with its connection.
fn passing(version: ProtocolVersion, client_id: &str) -> Connect<'_> {
    Connect { version, ..connect(client_id) }
}

/// A client of this version whose session outlives its connection, and is resumed where there is one.
fn staying(version: ProtocolVersion, client_id: &str) -> Connect<'_> {
    match version {
        V500 => lasting(client_id, 100),
        _ => Connect { clean_start: false, ..passing(version, client_id) },
    }
}

/// Of two messages on `a`, "1" of QoS 1 and "2" of QoS 2, the client has got both and answered neither.
fn one_of_each_qos(publisher: &mut Client, client: &mut Client) {
    publisher.publishes(publish(1, Q1, "a", "1"));
    publisher.publishes(publish(1, Q2, "a", "2"));
    client.gets("PUBLISH 1 q1 a 1");
    client.gets("PUBLISH 2 q2 a 2");
}
