//! What comes from another node, over its link or through a third one: the same frames, handled in one place.

use std::sync::Arc;
use std::time::Instant;

use rumormq_gossip::ReplicaId;

use super::forward::inbound::{Admission, Received, Way};
use super::forward::settlements::{Settled, SettledAck};
use super::forward::wire::{self, ForwardAck, ForwardSkip};
use super::host::{Inbound, confirm_all};
use super::link::driver::LinkError;
use super::link::frame::Frame;
use super::link::held::HeldAck;
use super::link::kind;
use super::peer::{Peer, PeerOrigin};
use super::relay::wire::{AskPosition, Position};
use super::takeover::wire::TakeoverMessage;
use super::{Cluster, origin_of};
use crate::message::PublishId;

/// One incarnation of a node as the sender of frames by one way. The methods are called in turns: `begin`, `handle_frame` for
/// each frame, `finish`.
pub struct Source {
    peer: Arc<Peer>,
    replica: ReplicaId,
    /// What stands for the replica in the names of publishes.
    origin: u64,
    received: Received,
    inbound: Box<dyn Inbound>,
    /// Whether frames come through a third node, which may drop some.
    relayed: bool,
    way: Way,
    held: HeldAck,
    turn: Turn,
}

/// What one turn has brought.
#[derive(Default)]
struct Turn {
    received: u64,
    duplicate: u64,
    acknowledge: bool,
    /// Publishes of QoS 0 that newer ones have overtaken by another way.
    late: u64,
    /// Frames that answer, for the way that it came by.
    answers: Vec<u8>,
}

impl Source {
    /// Frames of this incarnation of the peer.
    pub fn new(
        cluster: &Cluster,
        peer: Arc<Peer>,
        replica: ReplicaId,
        received: Received,
        relayed: bool,
    ) -> Source {
        let origin = PeerOrigin { peer: peer.clone(), replica: replica.clone() };
        Source {
            origin: origin_of(&replica),
            inbound: cluster.host().open_inbound(Arc::new(origin)),
            peer,
            replica,
            received,
            relayed,
            way: Way::next(),
            held: HeldAck::default(),
            turn: Turn::default(),
        }
    }

    /// Whether this is still where that stream is counted.
    pub fn counts_in(&self, received: &Received) -> bool {
        Arc::ptr_eq(&self.received, received)
    }

    /// Frames have come.
    pub fn begin(&mut self, now: Instant) {
        self.peer.note_heard(now);
        self.inbound.begin(now);
    }

    /// Handles a frame that any way may bring. False if it is none.
    pub fn handle_frame(
        &mut self,
        cluster: &Arc<Cluster>,
        frame: Frame<'_>,
        now: Instant,
    ) -> Result<bool, LinkError> {
        match frame.kind {
            kind::FORWARD => self.handle_forward(frame, now)?,
            kind::FORWARD_ACK => {
                let ack: ForwardAck = read_body(frame)?;
                self.peer.handle_ack(&self.replica, ack.sequence, self.relayed, now);
            }
            kind::FORWARD_SKIP => {
                let skip: ForwardSkip = read_body(frame)?;
                self.received.lock().skip(skip.to);
            }
            kind::SETTLED => {
                let settled: Settled = read_body(frame)?;
                wire::append_small(&mut self.turn.answers, kind::SETTLED_ACK, &settled.ack());
                cluster.handle_settled(&self.replica, &settled, now);
            }
            kind::SETTLED_ACK => {
                let ack: SettledAck = read_body(frame)?;
                self.peer.handle_settled_ack(ack, now);
            }
            kind::ASK_POSITION => {
                let AskPosition { token } = read_body(frame)?;
                let received = self.received.lock().sequence();
                wire::append_small(&mut self.turn.answers, kind::POSITION, &Position { token, received });
            }
            kind::POSITION => {
                let position: Position = read_body(frame)?;
                let mut done = Vec::new();
                self.peer.handle_position(&self.replica, position, now, &mut done);
                confirm_all(done, now);
            }
            kind::TAKEOVER => {
                let message: TakeoverMessage = read_body(frame)?;
                cluster.handle_takeover(&self.replica, message);
            }
            kind::QUESTION => cluster.handle_question(&self.peer, &self.replica, read_body(frame)?),
            kind::ANSWER => cluster.handle_answer(&self.replica, read_body(frame)?),
            kind::GOODBYE => cluster.handle_goodbye(&self.replica, now),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The turn is over. What answers it is to go back the way that it came by.
    pub fn finish(&mut self, now: Instant) -> Vec<u8> {
        self.inbound.finish();
        let Turn { received, duplicate, acknowledge, late, mut answers } = std::mem::take(&mut self.turn);
        self.peer.counters.received.inc_by(received);
        self.peer.counters.duplicate.inc_by(duplicate);
        self.peer.counters.dropped_overtaken.inc_by(late);
        if acknowledge {
            self.acknowledge(&mut answers, now);
        }
        answers
    }

    /// Whether an acknowledgement is held back.
    pub fn is_held(&self) -> bool {
        self.held.is_held()
    }

    /// The acknowledgement that was held back, if its time has come.
    pub fn held_answer(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut answer = Vec::new();
        if self.held.is_held() {
            self.acknowledge(&mut answer, now);
        }
        Some(answer).filter(|answer| !answer.is_empty())
    }

    /// Acknowledges what was received of the stream, unless that is held back.
    fn acknowledge(&mut self, answers: &mut Vec<u8>, now: Instant) {
        if self.held.may_send(self.inbound.crowd(), now) {
            let sequence = self.received.lock().sequence();
            wire::append_small(answers, kind::FORWARD_ACK, &ForwardAck { sequence });
        }
    }

    fn handle_forward(&mut self, frame: Frame<'_>, now: Instant) -> Result<(), LinkError> {
        let Source { received, inbound, origin, turn, relayed, way, .. } = self;
        if frame.late {
            inbound.expect_late();
        }
        wire::read(frame.body, now, |place, application, addressees| {
            let publish = PublishId { origin: *origin, number: place.publication.number };
            // Held until it is delivered: another way may bring the next one at the same time.
            let mut received = received.lock();
            if place.sequence == 0 {
                turn.received += 1;
                match received.admit_at_most_once(*way, publish.number) {
                    true => inbound.deliver(publish, application, place.publication.retained, addressees),
                    false => turn.late += 1,
                }
                return Ok(());
            }
            match received.admit(place.sequence) {
                Admission::Next => {
                    turn.acknowledge = true;
                    turn.received += 1;
                    inbound.deliver(publish, application, place.publication.retained, addressees);
                    Ok(())
                }
                Admission::Duplicate => {
                    turn.acknowledge = true;
                    turn.duplicate += 1;
                    Ok(())
                }
                // Who passes frames on may drop some. The origin finds out.
                Admission::Gap if *relayed => Ok(()),
                Admission::Gap => Err(LinkError::ForwardGap(place.sequence)),
            }
        })?
    }
}

/// Reads the body of a small frame.
pub fn read_body<T: serde::de::DeserializeOwned>(frame: Frame<'_>) -> Result<T, LinkError> {
    postcard::from_bytes(frame.body).map_err(|_| LinkError::MalformedFrame(frame.kind))
}
