//! rumqttc, which has a client for each protocol version.

use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5 as packets;
use rumqttc::{Outgoing as Sent, v5};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::peer::{Connected, Incoming, Library, Options, Outgoing, Peer, Transport, Wanted};

const PATIENCE: Duration = Duration::from_secs(20);
const LARGEST_PACKET: u32 = 2 << 20;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("threads"))
}

pub struct Rumqttc;

impl Library for Rumqttc {
    fn is_installed(&self) -> bool {
        true
    }

    fn transport(&self) -> Transport {
        Transport::Tcp
    }

    #[track_caller]
    fn connect(&mut self, options: Options) -> Box<dyn Peer> {
        let _guard = runtime().enter();
        let (events, queues) = queues();
        let (client, task) = match options.version {
            5 => connect_5(options, events),
            _ => connect_311(options, events),
        };
        let connected = queues.connected.recv_timeout(PATIENCE).expect("CONNACK");
        Box::new(RumqttcPeer { client, task, connected, queues })
    }
}

enum AnyClient {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

struct RumqttcPeer {
    client: AnyClient,
    /// Drives the connection; aborted, it takes the socket along.
    task: JoinHandle<()>,
    connected: Connected,
    queues: Queues,
}

/// What comes, by what waits for it.
struct Queues {
    connected: Receiver<Connected>,
    messages: Receiver<Incoming>,
    subscribed: Receiver<u8>,
    unsubscribed: Receiver<()>,
    acknowledged: Receiver<()>,
    ended: Receiver<Option<u8>>,
}

struct Events {
    connected: Sender<Connected>,
    messages: Sender<Incoming>,
    subscribed: Sender<u8>,
    unsubscribed: Sender<()>,
    acknowledged: Sender<()>,
    ended: Sender<Option<u8>>,
}

fn queues() -> (Events, Queues) {
    let (connected, connected_queue) = mpsc::channel();
    let (messages, message_queue) = mpsc::channel();
    let (subscribed, subscribed_queue) = mpsc::channel();
    let (unsubscribed, unsubscribed_queue) = mpsc::channel();
    let (acknowledged, acknowledged_queue) = mpsc::channel();
    let (ended, ended_queue) = mpsc::channel();
    let queues = Queues {
        connected: connected_queue,
        messages: message_queue,
        subscribed: subscribed_queue,
        unsubscribed: unsubscribed_queue,
        acknowledged: acknowledged_queue,
        ended: ended_queue,
    };
    (Events { connected, messages, subscribed, unsubscribed, acknowledged, ended }, queues)
}

/// Nobody may wait for it any more.
fn tell<T>(queue: &Sender<T>, event: T) {
    let _ = queue.send(event);
}

fn qos_311(qos: u8) -> rumqttc::QoS {
    rumqttc::qos(qos).expect("0, 1 or 2")
}

fn qos_5(qos: u8) -> v5::mqttbytes::QoS {
    v5::mqttbytes::qos(qos).expect("0, 1 or 2")
}

fn connect_311(options: Options, events: Events) -> (AnyClient, JoinHandle<()>) {
    let mut settings = rumqttc::MqttOptions::new(options.id, "localhost", options.port);
    settings.set_keep_alive(Duration::from_secs(options.keep_alive.into())).set_clean_session(options.clean);
    settings.set_max_packet_size(LARGEST_PACKET as usize, LARGEST_PACKET as usize);
    if let (Some(user), Some(password)) = (options.user, options.password) {
        settings.set_credentials(user, password);
    }
    if let Some(will) = options.will {
        settings.set_last_will(rumqttc::LastWill::new(
            will.topic,
            will.payload,
            qos_311(will.qos),
            will.retain,
        ));
    }
    let (client, mut connection) = rumqttc::AsyncClient::new(settings, 1000);
    let task = tokio::spawn(async move {
        use rumqttc::{Event, Packet};
        loop {
            match connection.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(connack))) => tell(
                    &events.connected,
                    Connected {
                        present: Some(connack.session_present),
                        reason: connack.code as u8,
                        assigned: None,
                    },
                ),
                Ok(Event::Incoming(Packet::Publish(publish))) => tell(
                    &events.messages,
                    Incoming {
                        topic: publish.topic,
                        payload: String::from_utf8(publish.payload.to_vec()).expect("text"),
                        qos: publish.qos as u8,
                        retain: publish.retain,
                        ..Incoming::default()
                    },
                ),
                Ok(Event::Incoming(Packet::SubAck(suback))) => {
                    tell(
                        &events.subscribed,
                        match suback.return_codes[0] {
                            rumqttc::SubscribeReasonCode::Success(qos) => qos as u8,
                            rumqttc::SubscribeReasonCode::Failure => 0x80,
                        },
                    );
                }
                Ok(Event::Incoming(Packet::UnsubAck(_))) => tell(&events.unsubscribed, ()),
                Ok(Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)))
                | Ok(Event::Outgoing(Sent::Publish(0))) => tell(&events.acknowledged, ()),
                Ok(Event::Outgoing(Sent::Disconnect)) | Err(_) => {
                    tell(&events.ended, None);
                    return;
                }
                Ok(_) => {}
            }
        }
    });
    (AnyClient::V311(client), task)
}

fn connect_5(options: Options, events: Events) -> (AnyClient, JoinHandle<()>) {
    let mut settings = v5::MqttOptions::new(options.id, "localhost", options.port);
    settings.set_keep_alive(Duration::from_secs(options.keep_alive.into())).set_clean_start(options.clean);
    settings.set_max_packet_size(Some(LARGEST_PACKET)).set_session_expiry_interval(options.expiry);
    if let (Some(user), Some(password)) = (options.user, options.password) {
        settings.set_credentials(user, password);
    }
    if let Some(will) = options.will {
        let will = packets::LastWill::new(will.topic, will.payload, qos_5(will.qos), will.retain, None);
        settings.set_last_will(will);
    }
    let (client, mut connection) = v5::AsyncClient::new(settings, 1000);
    let task = tokio::spawn(async move {
        use v5::mqttbytes::v5::Packet;
        use v5::{ConnectionError, Event, StateError};
        loop {
            match connection.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(connack))) => tell(
                    &events.connected,
                    Connected {
                        present: Some(connack.session_present),
                        reason: connack.code as u8,
                        assigned: connack.properties.and_then(|set| set.assigned_client_identifier),
                    },
                ),
                Ok(Event::Incoming(Packet::Publish(publish))) => tell(&events.messages, incoming_5(publish)),
                Ok(Event::Incoming(Packet::SubAck(suback))) => {
                    tell(
                        &events.subscribed,
                        match suback.return_codes[0] {
                            packets::SubscribeReasonCode::Success(qos) => qos as u8,
                            _ => 0x80,
                        },
                    );
                }
                Ok(Event::Incoming(Packet::UnsubAck(_))) => tell(&events.unsubscribed, ()),
                Ok(Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)))
                | Ok(Event::Outgoing(Sent::Publish(0))) => tell(&events.acknowledged, ()),
                Ok(Event::Outgoing(Sent::Disconnect)) => {
                    tell(&events.ended, None);
                    return;
                }
                Err(error) => {
                    let reason = match error {
                        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
                            Some(reason_code as u8)
                        }
                        _ => None,
                    };
                    tell(&events.ended, reason);
                    return;
                }
                Ok(_) => {}
            }
        }
    });
    (AnyClient::V5(client), task)
}

fn incoming_5(publish: packets::Publish) -> Incoming {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let set = publish.properties.unwrap_or_default();
    Incoming {
        topic: text(&publish.topic),
        payload: text(&publish.payload),
        qos: publish.qos as u8,
        retain: publish.retain,
        expiry: set.message_expiry_interval,
        content_type: set.content_type,
        response_topic: set.response_topic,
        correlation: set.correlation_data.map(|data| text(&data)),
        user: set.user_properties,
        identifiers: set.subscription_identifiers.into_iter().map(|id| id as u32).collect(),
    }
}

fn properties(message: &Outgoing) -> packets::PublishProperties {
    packets::PublishProperties {
        message_expiry_interval: message.expiry,
        topic_alias: message.alias,
        response_topic: message.response_topic.clone(),
        correlation_data: message.correlation.clone().map(Into::into),
        user_properties: message.user.clone(),
        content_type: message.content_type.clone(),
        ..packets::PublishProperties::default()
    }
}

impl Peer for RumqttcPeer {
    fn connected(&self) -> Connected {
        self.connected.clone()
    }

    #[track_caller]
    fn subscribe(&mut self, wanted: Wanted) -> u8 {
        runtime().block_on(async {
            match &self.client {
                AnyClient::V311(client) => {
                    client.subscribe(wanted.filter, qos_311(wanted.qos)).await.expect("open")
                }
                AnyClient::V5(client) => {
                    let mut filter = packets::Filter::new(wanted.filter, qos_5(wanted.qos));
                    filter.nolocal = wanted.no_local;
                    filter.preserve_retain = wanted.retain_as_published;
                    let properties = packets::SubscribeProperties {
                        id: wanted.identifier.map(|id| id as usize),
                        user_properties: Vec::new(),
                    };
                    client.subscribe_many_with_properties([filter], properties).await.expect("open");
                }
            }
        });
        self.queues.subscribed.recv_timeout(PATIENCE).expect("SUBACK")
    }

    #[track_caller]
    fn unsubscribe(&mut self, filter: &str) {
        runtime().block_on(async {
            match &self.client {
                AnyClient::V311(client) => client.unsubscribe(filter).await.expect("open"),
                AnyClient::V5(client) => client.unsubscribe(filter).await.expect("open"),
            }
        });
        self.queues.unsubscribed.recv_timeout(PATIENCE).expect("UNSUBACK");
    }

    #[track_caller]
    fn publish(&mut self, messages: Vec<Outgoing>) {
        let count = messages.len();
        runtime().block_on(async {
            for message in messages {
                match &self.client {
                    AnyClient::V311(client) => {
                        let qos = qos_311(message.qos);
                        client
                            .publish(message.topic, qos, message.retain, message.payload)
                            .await
                            .expect("open");
                    }
                    AnyClient::V5(client) => {
                        let (qos, properties) = (qos_5(message.qos), properties(&message));
                        let Outgoing { topic, payload, retain, .. } = message;
                        client
                            .publish_with_properties(topic, qos, retain, payload, properties)
                            .await
                            .expect("open");
                    }
                }
            }
        });
        for _ in 0..count {
            self.queues.acknowledged.recv_timeout(PATIENCE).expect("an acknowledgement");
        }
    }

    #[track_caller]
    fn message(&mut self) -> Incoming {
        self.queues.messages.recv_timeout(PATIENCE).expect("a message")
    }

    #[track_caller]
    fn ended(&mut self) -> Option<u8> {
        self.queues.ended.recv_timeout(PATIENCE).expect("the end")
    }

    #[track_caller]
    fn disconnect(self: Box<Self>) {
        runtime().block_on(async {
            match &self.client {
                AnyClient::V311(client) => client.disconnect().await.expect("open"),
                AnyClient::V5(client) => client.disconnect().await.expect("open"),
            }
        });
        self.queues.ended.recv_timeout(PATIENCE).expect("the end");
    }

    fn lose_power(self: Box<Self>) {}
}

impl Drop for RumqttcPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
