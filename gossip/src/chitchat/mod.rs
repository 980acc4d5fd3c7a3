//! Membership on chitchat.
