//! What a session has to know of the nodes that had it before.
//!
//! A publish goes to every node with a matching route. While a session moves, the node where it is published may know the
//! way to the former owner, to the new one or to both; and what it has kept for a former owner that it could not reach
//! comes there later, perhaps behind newer publishes that the new owner gets from it directly. Former owners pass such
//! publishes on. So for each origin from which that is possible a session has a line: its former owners, oldest first,
//! each with the number of the origin's first publish that it knew a way to the next owner for. What is below that is
//! the former owner's to pass on, and no later owner takes it from its own stream. Until a former owner has passed on
//! everything, what comes behind it in the line is held.
//!
//! Beside that an older session of the client may turn up, the *rest* of which may have what the newer one has had. It had
//! sent publishes of its own, under packet identifiers of its own: of those of QoS 2 the client holds the identifiers, and
//! would take others for the same, until they are released.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::noted::Noted;
use super::portable::{AcceptTicket, PortableQueued};
use super::{Delivered, Delivery, Frames, Session, SessionLimits};
use crate::codec::packet::{PacketId, QoS, ReasonCode};
use crate::message::{PublishId, QueuedMessage};

/// Names of publishes that a session notes, or as many as two of its queues can hold.
const NOTED_MAX: usize = 1 << 16;
/// Former owners in a line; of more, the oldest is not waited for any more.
const OWNERS_MAX: usize = 64;

/// What may still come for a session by other ways than its routes.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// What the session has had since an older one may turn up.
    rest: Option<Noted<PublishId>>,
    /// By origin.
    lines: BTreeMap<u64, Line>,
    /// Under these another copy of the session has sent publishes of QoS 2. PUBREL is sent, and PUBCOMP awaited.
    unreleased: BTreeSet<PacketId>,
}

/// The former owners of a session, as far as publishes of one origin go. One that has had it more than once stands there more
/// than once, and so may the present one.
#[derive(Debug, Default)]
struct Line {
    /// The present owner.
    me: u64,
    owners: Vec<FormerOwner>,
    /// What waits for those before it, in the order in which it came, with who brought it.
    held: Vec<(Bringer, QueuedMessage)>,
    held_bytes: usize,
    held_since: Option<Instant>,
    /// What the session has had, by number.
    noted: Noted<u64>,
    /// Nothing waits for former owners: they are out of reach, or came too late.
    is_loose: bool,
}

/// A node that had the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FormerOwner {
    /// Which one; 0 where it does not matter any more.
    node: u64,
    /// Which of its times: the stamp of the claim that it had the session with.
    stay: u64,
    /// What is below this number is that node's, or an earlier one's, to pass on; none while it may still do so.
    passed_on: Option<u64>,
}

/// The same in a form that can travel with the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessionState {
    lines: Vec<LineState>,
    /// See [`Session::release_elsewhere`].
    unreleased: Vec<PacketId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LineState {
    origin: u64,
    owners: Vec<FormerOwner>,
    /// With the node that had got it from the origin.
    held: Vec<(u64, PortableQueued)>,
    noted: Vec<u64>,
}

/// What an owner knows of an origin when it gives a session away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Which origin, as in [`PublishId::origin`].
    pub origin: u64,
    /// The origin's first publish for which it knew the way to the next owner, where everything before has come; none where
    /// something may still come, which will be passed on.
    pub next_from: Option<u64>,
}

/// Who brings a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bringer {
    /// Its origin's stream towards this node, or this node's own publishers.
    Route,
    /// A former owner.
    FormerOwner(u64),
    /// The rest of an older session.
    Rest,
}

/// What of a line is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLine {
    /// Of which origin.
    pub origin: u64,
    /// Who may still pass something on, with the stamps of the claims that they had the session with.
    pub owners: Vec<(u64, u64)>,
    /// Since when something waits for them.
    pub held_since: Option<Instant>,
}

enum Place {
    At(usize),
    /// It depends on what is not known yet.
    Unknown,
    /// The node has not had the session.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Deliver,
    Hold,
    Known,
}

impl Place {
    /// Later ones are higher.
    fn rank(self) -> usize {
        match self {
            Place::At(place) => place,
            Place::Unknown => usize::MAX,
            // It is so long ago that it is not in the line any more.
            Place::None => 0,
        }
    }
}

impl Line {
    fn judge(&self, bringer: Bringer, number: u64) -> Verdict {
        if self.noted.contains(number) {
            return Verdict::Known;
        }
        if bringer == Bringer::Rest {
            return Verdict::Deliver;
        }
        match self.place(bringer, number) {
            Place::None => Verdict::Known,
            Place::Unknown if self.is_loose => Verdict::Deliver,
            Place::Unknown => Verdict::Hold,
            Place::At(place) => self.judge_at(place, number),
        }
    }

    /// Where in the line a message stands that somebody brings.
    fn place(&self, bringer: Bringer, number: u64) -> Place {
        match bringer {
            Bringer::FormerOwner(node) => self.place_of(node, number, None),
            Bringer::Route | Bringer::Rest => self.place_of(self.me, number, Some(self.owners.len())),
        }
    }

    /// The time in the line that a node has got a publish in: the first one that it was not too late for.
    fn place_of(&self, node: u64, number: u64, present: Option<usize>) -> Place {
        let mut times = self.owners.iter().enumerate().filter(|(_, owner)| owner.node == node).peekable();
        let Some(&(mut last, _)) = times.peek() else { return present.map_or(Place::None, Place::At) };
        if present.is_none() && times.clone().count() == 1 {
            return Place::At(last);
        }
        for (at, owner) in times {
            match owner.passed_on {
                None => return Place::Unknown,
                Some(next_from) if number < next_from => return Place::At(at),
                Some(_) => last = at,
            }
        }
        Place::At(present.unwrap_or(last))
    }

    fn judge_at(&self, place: usize, number: u64) -> Verdict {
        let before = &self.owners[..place.min(self.owners.len())];
        if before.iter().filter_map(|owner| owner.passed_on).any(|next_from| number < next_from) {
            return Verdict::Known;
        }
        match !self.is_loose && before.iter().any(|owner| owner.passed_on.is_none()) {
            true => Verdict::Hold,
            false => Verdict::Deliver,
        }
    }

    /// The owner has passed on everything of that time.
    fn settle(&mut self, node: u64, stay: u64, next_from: u64) {
        let is_meant = |owner: &&mut FormerOwner| (owner.node, owner.stay) == (node, stay);
        for owner in self.owners.iter_mut().filter(is_meant) {
            owner.passed_on.get_or_insert(next_from);
        }
    }

    fn hold(&mut self, bringer: Bringer, queued: QueuedMessage, now: Instant) {
        self.held_since.get_or_insert(now);
        self.held_bytes += queued.size();
        self.held.push((bringer, queued));
    }

    /// What need not wait any more, in order.
    fn take_released(&mut self) -> Vec<QueuedMessage> {
        let mut held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        held.sort_by_key(|(bringer, queued)| match queued.message.publish {
            Some(publish) => self.place(*bringer, publish.number).rank(),
            None => usize::MAX,
        });
        let mut released = Vec::new();
        for (bringer, queued) in held {
            let number = queued.message.publish.map_or(u64::MAX, |publish| publish.number);
            let verdict = match self.place(bringer, number) {
                Place::None if !self.noted.contains(number) => Verdict::Deliver,
                _ => self.judge(bringer, number),
            };
            match verdict {
                Verdict::Hold => {
                    self.held_bytes += queued.size();
                    self.held.push((bringer, queued));
                }
                Verdict::Deliver => {
                    self.note(number);
                    released.push(queued);
                }
                Verdict::Known => {}
            }
        }
        if self.held.is_empty() {
            self.held_since = None;
        }
        released
    }

    fn note(&mut self, number: u64) {
        self.noted.insert(number, NOTED_MAX);
    }

    /// Nobody passes anything on any more.
    fn is_complete(&self) -> bool {
        self.owners.iter().all(|owner| owner.passed_on.is_some())
    }

    fn state(&self, origin: u64, now: Instant) -> LineState {
        let held = self.held.iter().map(|(bringer, queued)| {
            let node = match bringer {
                Bringer::FormerOwner(node) => *node,
                Bringer::Route | Bringer::Rest => self.me,
            };
            (node, PortableQueued::of(queued, now))
        });
        let held = held.collect();
        let noted = self.noted.iter().collect();
        LineState { origin, owners: self.owners.clone(), held, noted }
    }
}

impl Succession {
    fn is_over(&self) -> bool {
        self.rest.is_none() && self.lines.is_empty() && self.unreleased.is_empty()
    }
}

impl Session {
    /// There may be an older session of the client on a node that cannot be reached. The names of what is kept and of what
    /// arrives from now on are noted, for the rest of that one may have the same messages. Of what arrives only the first
    /// ones are, as far as that is bounded.
    pub fn note_publishes(&mut self) {
        if self.succession.as_ref().is_none_or(|succession| succession.rest.is_none()) {
            let had: Vec<PublishId> = self.publishes().collect();
            self.set_noted(had);
        }
    }

    /// There is no older session: whatever comes of one is not this one's.
    pub fn forget_publishes(&mut self) {
        if let Some(succession) = &mut self.succession {
            succession.rest = None;
        }
        self.end_succession();
    }

    /// Whether there may be an older session of the client.
    pub fn expects_rest(&self) -> bool {
        self.noted().is_some()
    }

    fn end_succession(&mut self) {
        if self.succession.as_ref().is_some_and(|succession| succession.is_over()) {
            self.succession = None;
        }
    }

    /// What has been noted, where a rest may come.
    pub(super) fn noted(&self) -> Option<&Noted<PublishId>> {
        self.succession.as_ref()?.rest.as_ref()
    }

    /// The same, as it came with the session.
    pub(super) fn set_noted(&mut self, names: Vec<PublishId>) {
        let max = noted_max(&self.limits);
        let rest = self.succession.get_or_insert_default().rest.insert(Noted::default());
        names.into_iter().for_each(|name| rest.insert(name, max));
    }

    pub(super) fn note(&mut self, publish: Option<PublishId>) {
        let (Some(succession), Some(publish)) = (&mut self.succession, publish) else { return };
        if let Some(rest) = &mut succession.rest {
            rest.insert(publish, noted_max(&self.limits));
        }
        if let Some(line) = succession.lines.get_mut(&publish.origin) {
            line.note(publish.number);
        }
    }

    /// Whether the session gets a message, and now, that somebody brings. None if so.
    #[cold]
    pub(super) fn intercept(
        &mut self,
        bringer: Bringer,
        frames: &mut Frames<'_>,
        qos: QoS,
        delivery: &Delivery<'_>,
    ) -> Option<Delivered> {
        // What came by way of a group came to this session alone, whatever else its subscriptions got.
        if frames.application().qos == QoS::AtMostOnce || delivery.ticket.is_some() {
            return None;
        }
        let publish = frames.publish()?;
        match self.judge(bringer, publish) {
            Verdict::Known => Some(Delivered::Known),
            Verdict::Hold if qos > QoS::AtMostOnce => {
                let message = frames.message().clone();
                let queued = QueuedMessage::new(message, qos, delivery.retain, delivery.identifiers);
                self.hold(bringer, publish.origin, queued, frames.now()).ok().map(|()| Delivered::Queued)
            }
            // The former owner passes on what is acknowledged, not this.
            Verdict::Hold | Verdict::Deliver => {
                if qos == QoS::AtMostOnce {
                    self.note(Some(publish));
                }
                None
            }
        }
    }

    fn judge(&self, bringer: Bringer, publish: PublishId) -> Verdict {
        let nothing = Succession::default();
        let succession = self.succession.as_deref().unwrap_or(&nothing);
        if succession.rest.as_ref().is_some_and(|rest| rest.contains(publish)) {
            return Verdict::Known;
        }
        match (succession.lines.get(&publish.origin), bringer) {
            (Some(line), _) => line.judge(bringer, publish.number),
            // It was another session's, or all that can have come that way is here.
            (None, Bringer::FormerOwner(_)) if succession.rest.is_none() => Verdict::Known,
            (None, _) => Verdict::Deliver,
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.succession.iter().flat_map(|succession| succession.lines.values())
    }

    /// Another copy of the session has sent publishes of QoS 2 under these, which the client may hold. Those that this one uses
    /// are its own by now.
    pub fn release_elsewhere(&mut self, ids: Vec<PacketId>) {
        for id in ids {
            if self.window.get(id).is_none() {
                self.succession.get_or_insert_default().unreleased.insert(id);
                self.send_pubrel(id, ReasonCode::Success);
            }
        }
    }

    fn unreleased_elsewhere(&self) -> impl Iterator<Item = PacketId> {
        self.succession.iter().flat_map(|succession| &succession.unreleased).copied()
    }

    /// A connection has opened: it is to hear of them again.
    pub(super) fn release_again(&mut self) {
        let ids: Vec<PacketId> = self.unreleased_elsewhere().collect();
        ids.into_iter().for_each(|id| self.send_pubrel(id, ReasonCode::Success));
    }

    /// The client has released one of them; or hears next of a message of this session's under it.
    pub(super) fn forget_elsewhere(&mut self, id: PacketId) {
        if let Some(succession) = &mut self.succession
            && succession.unreleased.remove(&id)
        {
            self.end_succession();
        }
    }

    /// Messages that wait for former owners.
    pub fn held(&self) -> usize {
        self.lines().map(|line| line.held.len()).sum()
    }

    fn has_room_to_hold(&self, size: usize) -> bool {
        let bytes: usize = self.lines().map(|line| line.held_bytes).sum();
        self.held() + self.queue.len() < self.limits.max_queued_messages
            && bytes + self.queue.bytes() + size <= self.limits.max_queued_bytes
    }

    /// Keeps it for as long as former owners are waited for. Given back where there is no room: that it comes is worth more than
    /// its place, and nothing of its origin waits any more.
    fn hold(
        &mut self,
        bringer: Bringer,
        origin: u64,
        queued: QueuedMessage,
        now: Instant,
    ) -> Result<(), QueuedMessage> {
        if !self.has_room_to_hold(queued.size()) {
            self.loosen_line(origin, now);
            return Err(queued);
        }
        if let Some(line) = self.succession.as_mut().and_then(|succession| succession.lines.get_mut(&origin))
        {
            line.hold(bringer, queued, now);
        }
        Ok(())
    }

    /// What was held where the session was expected, and the session has not; see [`Session::absorb`].
    pub(super) fn absorb_one(&mut self, queued: QueuedMessage, now: Instant) {
        let named = queued.message.publish.filter(|_| queued.ticket.is_none());
        let held = match named.map(|publish| (publish, self.judge(Bringer::Route, publish))) {
            Some((_, Verdict::Known)) => return,
            Some((publish, Verdict::Hold)) => self.hold(Bringer::Route, publish.origin, queued, now),
            Some((_, Verdict::Deliver)) | None => Err(queued),
        };
        if let Err(queued) = held {
            self.note(named);
            self.queue.push(queued);
        }
    }

    /// What the next owner has to know. `me` is this one, which has had the session with the claim `stay` and says farewell to each
    /// origin.
    pub fn bequeath(&self, me: u64, stay: u64, farewells: &[Farewell], now: Instant) -> SuccessionState {
        let none = BTreeMap::new();
        let own = self.succession.as_ref().map_or(&none, |succession| &succession.lines);
        let mut lines: BTreeMap<u64, LineState> =
            own.iter().map(|(origin, line)| (*origin, line.state(*origin, now))).collect();
        for farewell in farewells {
            let origin = farewell.origin;
            let line = lines.entry(origin).or_insert_with(|| Line::default().state(origin, now));
            let bound = |line: &LineState| line.owners.iter().filter_map(|owner| owner.passed_on).max();
            if line.held.is_empty() && line.owners.iter().all(|owner| owner.passed_on.is_some()) {
                // All that counts of them is how far they go, whoever they were.
                let over = bound(line).map(|bound| FormerOwner { node: 0, stay: 0, passed_on: Some(bound) });
                line.owners = over.into_iter().collect();
            }
            line.owners.push(FormerOwner { node: me, stay, passed_on: farewell.next_from });
        }
        SuccessionState {
            lines: lines.into_values().collect(),
            unreleased: self.unreleased_elsewhere().collect(),
        }
    }

    /// Goes on from what the former owner knew; `me` is the present one. Where `is_rest`, that had an older session of the client,
    /// for which nothing waits.
    pub fn inherit(
        &mut self,
        state: SuccessionState,
        me: u64,
        is_rest: bool,
        accept: AcceptTicket<'_>,
        now: Instant,
    ) {
        self.release_elsewhere(state.unreleased);
        let kept: Vec<PublishId> = self.publishes().collect();
        for LineState { origin, mut owners, held, noted } in state.lines {
            let excess = owners.len().saturating_sub(OWNERS_MAX);
            owners.drain(..excess);
            let line = self.succession.get_or_insert_default().lines.entry(origin).or_default();
            line.me = me;
            if is_rest {
                // Who had the older session comes before whoever had this one.
                // What is held for these goes on waiting for these.
                line.is_loose |= line.owners.is_empty();
                owners.append(&mut line.owners);
            } else {
                for (node, queued) in held {
                    if let Some(queued) = queued.into_queued(accept, now) {
                        line.hold(Bringer::FormerOwner(node), queued, now);
                    }
                }
                noted.into_iter().for_each(|number| line.note(number));
            }
            line.owners = owners;
            let of_origin = kept.iter().filter(|publish| publish.origin == origin);
            of_origin.for_each(|publish| line.note(publish.number));
        }
    }

    /// A former owner has passed on everything of the origin that came for the session with its claim `stay`; see
    /// [`Farewell::next_from`].
    pub fn settle_line(&mut self, origin: u64, former: u64, stay: u64, next_from: u64, now: Instant) {
        self.change_line(origin, now, |line| line.settle(former, stay, next_from));
    }

    /// Nothing of the origin waits for former owners any more.
    pub fn loosen_line(&mut self, origin: u64, now: Instant) {
        self.change_line(origin, now, |line| line.is_loose = true);
    }

    /// All that the origin sent before it knew where the session is has come to this node: nothing is to be told apart any
    /// more. What is still held follows.
    pub fn end_line(&mut self, origin: u64, now: Instant) {
        self.change_line(origin, now, |line| line.is_loose = true);
        if let Some(succession) = &mut self.succession {
            succession.lines.remove(&origin);
        }
        self.end_succession();
    }

    fn change_line(&mut self, origin: u64, now: Instant, change: impl FnOnce(&mut Line)) {
        let line = self.succession.as_mut().and_then(|succession| succession.lines.get_mut(&origin));
        let Some(line) = line else { return };
        change(line);
        for queued in line.take_released() {
            self.note(queued.message.publish);
            self.queue.push(queued);
        }
        self.pump(now);
    }

    /// The origins whose publishes may still come by way of former owners, or come again.
    pub fn pending_lines(&self) -> Vec<PendingLine> {
        let lines = self.succession.iter().flat_map(|succession| &succession.lines);
        let pending = lines.map(|(origin, line)| {
            let owners = line.owners.iter().filter(|owner| owner.passed_on.is_none());
            let owners = owners.map(|owner| (owner.node, owner.stay)).collect();
            PendingLine { origin: *origin, owners, held_since: line.held_since }
        });
        pending.collect()
    }

    /// Whether nobody passes on anything of the origin any more.
    pub fn is_line_complete(&self, origin: u64) -> bool {
        let line = self.succession.as_ref().and_then(|succession| succession.lines.get(&origin));
        line.is_none_or(Line::is_complete)
    }
}

fn noted_max(limits: &SessionLimits) -> usize {
    NOTED_MAX.max(2 * limits.max_queued_messages)
}

impl SuccessionState {
    /// What was held, oldest first.
    pub fn into_held(self, accept: AcceptTicket<'_>, now: Instant) -> Vec<QueuedMessage> {
        let held = self.lines.into_iter().flat_map(|line| line.held);
        held.filter_map(|(_, queued)| queued.into_queued(accept, now)).collect()
    }
}
