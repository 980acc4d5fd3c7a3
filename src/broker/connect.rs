//! A CONNECT comes: is it let in, and does something have to be found out before?

use super::Broker;
use super::authentication::{Authentication, Proof};
use super::batch::Batch;
use super::client::Attachment;
use super::open::{BRIDGE_CLIENTS, Connected};
use super::pending_connect::{PendingConnect, Stage};
use super::refused::Refused;
use crate::access::Identity;
use crate::codec::packet::{Connect, ReasonCode};

/// A CONNECT as it came.
pub struct Request<'a> {
    /// The packet.
    pub connect: &'a Connect<'a>,
    /// Its bytes.
    pub frame: &'a [u8],
    /// The connection it came by.
    pub attachment: Attachment,
    /// The name in the client's certificate, where the transport has checked one.
    pub certificate: Option<&'a str>,
    /// Whether the client is a part of this node, which need not prove who it is.
    pub internal: bool,
}

/// How far a CONNECT has got.
pub enum Progress {
    /// It is accepted.
    Open(Connected),
    /// It waits: go on with [`Broker::poll_connect`].
    Pending(Box<PendingConnect>),
}

impl Broker {
    /// A client asks to connect. Where nothing has to be awaited it is done at once.
    pub fn connect(&self, request: Request<'_>, batch: &mut Batch) -> Result<Progress, Refused> {
        let connect = request.connect;
        let authentication = match request.internal {
            true => Authentication::Proved(Proof { identity: Identity::NODE, said: None }),
            false if connect.client_id.starts_with(BRIDGE_CLIENTS) => {
                return Err(Refused(ReasonCode::ClientIdentifierNotValid));
            }
            false => self.authenticate(connect, request.certificate, request.attachment.peer)?,
        };
        let (stage, question) = match authentication {
            Authentication::Proved(proof) => match self.before_open(connect, &proof.identity)? {
                None => return self.open(connect, proof, request.attachment, batch).map(Progress::Open),
                Some(wait) => (Stage::Opening(proof, wait), None),
            },
            Authentication::Asking(exchange, question) => (Stage::Exchanging(exchange), Some(question)),
            Authentication::Hashing(verification) => (Stage::Hashing(verification), None),
        };
        let mut pending = PendingConnect::new(connect, request.frame, request.attachment, stage);
        if let Some(question) = question {
            pending.ask(&question, self)?;
        }
        Ok(Progress::Pending(pending))
    }
}
