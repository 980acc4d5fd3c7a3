//! A client that is not let in.

use crate::codec::packet::ReasonCode;

/// The CONNACK's reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub ReasonCode);
