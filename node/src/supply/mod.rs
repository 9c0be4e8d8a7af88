//! How programs and rights come to a node, and leave it.
//!
//! For: an origin's catalog and its answers ([`origin`]), a host's way to program and ticket ([`get`]), what is
//! in the library ([`library`]), what is left of programs that are gone ([`sweep`]), cards ([`card`]), and moving a program's bytes under a right ([`transfer`]).
//! Not for: what happens in a session.

pub mod card;
pub mod get;
pub mod library;
pub mod origin;
pub mod sweep;
pub mod transfer;
