//! Which library runs which scenario. A row is a scenario, in the protocol versions that have it; a cell is a test, or the reason
//! why the library cannot be put through it.

use crate::agent::Agent;
use crate::mosquitto::Mosquitto;
use crate::peer::{Library, Transport};
use crate::rumqttc::Rumqttc;
use crate::scenarios;
use crate::world::{BOTH, FIVE, run};

// The columns: a library, and how it connects.

fn mosquitto() -> Box<dyn Library> {
    Box::new(Mosquitto(Transport::Tcp))
}

fn mosquitto_tls() -> Box<dyn Library> {
    Box::new(Mosquitto(Transport::Tls))
}

fn paho() -> Box<dyn Library> {
    Box::new(Agent::python("paho", Transport::Tcp))
}

fn paho_tls() -> Box<dyn Library> {
    Box::new(Agent::python("paho", Transport::Tls))
}

fn paho_ws() -> Box<dyn Library> {
    Box::new(Agent::python("paho", Transport::Ws))
}

fn aiomqtt() -> Box<dyn Library> {
    Box::new(Agent::python("aiomqtt", Transport::Tcp))
}

fn mqtt_js() -> Box<dyn Library> {
    Box::new(Agent::javascript(Transport::Tcp))
}

fn mqtt_js_ws() -> Box<dyn Library> {
    Box::new(Agent::javascript(Transport::Ws))
}

fn mqtt_js_wss() -> Box<dyn Library> {
    Box::new(Agent::javascript(Transport::Wss))
}

fn rumqttc() -> Box<dyn Library> {
    Box::new(Rumqttc)
}

/// One module a row, one test a cell. A cell with a reason is a test that is ignored for it.
macro_rules! table {
    ($($scenario:ident in $versions:ident { $($library:ident: $cell:tt,)* })*) => {
        $(mod $scenario {
            $(table!(@cell $scenario $versions $library $cell);)*
        })*
    };
    (@cell $scenario:ident $versions:ident $library:ident yes) => {
        #[test]
        fn $library() {
            let name = concat!(stringify!($scenario), "::", stringify!($library));
            super::run(name, super::$versions, super::$library, super::scenarios::$scenario);
        }
    };
    (@cell $scenario:ident $versions:ident $library:ident $reason:literal) => {
        #[test]
        #[ignore = $reason]
        fn $library() {
            panic!($reason);
        }
    };
}

/// The common case: all of them.
macro_rules! table_of_all {
    ($($scenario:ident in $versions:ident,)*) => {
        table! {
            $($scenario in $versions {
                mosquitto: yes, mosquitto_tls: yes, paho: yes, paho_tls: yes, paho_ws: yes, aiomqtt: yes, mqtt_js: yes,
                mqtt_js_ws: yes, mqtt_js_wss: yes, rumqttc: yes,
            })*
        }
    };
}

table_of_all! {
    connects in BOTH,
    qos_matrix in BOTH,
    order in BOTH,
    retained in BOTH,
    will in BOTH,
    session_resume in BOTH,
    session_moves in BOTH,
    shared in BOTH,
    overlapping_subscriptions in BOTH,
    message_expiry in FIVE,
    session_expiry in FIVE,
    large_payload in BOTH,
    properties in FIVE,
    subscription_options in FIVE,
}

table! {
    takeover in BOTH {
        mosquitto: "mosquitto_sub connects again by itself when another takes its identifier",
        mosquitto_tls: "mosquitto_sub connects again by itself when another takes its identifier",
        paho: yes, paho_tls: yes, paho_ws: yes, aiomqtt: yes, mqtt_js: yes, mqtt_js_ws: yes, mqtt_js_wss: yes, rumqttc: yes,
    }
    aliases in FIVE {
        mosquitto: "mosquitto_pub always sends the topic itself",
        mosquitto_tls: "mosquitto_pub always sends the topic itself",
        paho: yes, paho_tls: yes, paho_ws: yes, aiomqtt: yes, mqtt_js: yes, mqtt_js_ws: yes, mqtt_js_wss: yes, rumqttc: yes,
    }
    unsubscribe in BOTH {
        mosquitto: "mosquitto_sub unsubscribes only as it starts",
        mosquitto_tls: "mosquitto_sub unsubscribes only as it starts",
        paho: yes, paho_tls: yes, paho_ws: yes, aiomqtt: yes, mqtt_js: yes, mqtt_js_ws: yes, mqtt_js_wss: yes, rumqttc: yes,
    }
    no_local in FIVE {
        mosquitto: "mosquitto_sub does not publish",
        mosquitto_tls: "mosquitto_sub does not publish",
        paho: yes, paho_tls: yes, paho_ws: yes, aiomqtt: yes, mqtt_js: yes, mqtt_js_ws: yes, mqtt_js_wss: yes, rumqttc: yes,
    }
}
