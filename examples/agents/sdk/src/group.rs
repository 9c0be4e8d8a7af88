//! The group: who is in it, and saying something to it.
//!
//! There are two ways to say something. What is *posted* is for good: every member gets it once, also one that is
//! away or comes later. What is *sent* is at once or never.

use crate::bindings::parlor::agent::group;
pub use crate::{Content, Member, error::SayError as Error};

/// This node.
#[must_use]
pub fn me() -> Member {
    group::me()
}

/// Everyone who is in the group now, this node included.
#[must_use]
pub fn members() -> Vec<Member> {
    group::members()
}

/// The member of this `addr`, if it is in the group now.
#[must_use]
pub fn member(addr: &str) -> Option<Member> {
    members().into_iter().find(|member| member.addr == addr)
}

/// What people call the member of this `addr`: its name, or the beginning of its `addr` if it is not here any more or
/// has none.
#[must_use]
pub fn name_of(addr: &str) -> String {
    let named = member(addr).map(|member| member.name).filter(|name| !name.trim().is_empty());
    named.unwrap_or_else(|| addr.chars().take(8).collect())
}

/// Says something to all others, at once and only to those who are there: it may be lost, and is kept nowhere. At most
/// 128,000 bytes.
///
/// # Errors
///
/// See [`Error`].
pub fn send(message: &[u8]) -> Result<(), Error> {
    Ok(group::send(message)?)
}

/// Says something for good: it is on disk when this returns, and every member will get it. It comes back to this agent
/// as an [`update`](crate::Agent::update) with `is_own`.
///
/// # Errors
///
/// See [`Error`].
pub fn post(content: &Content) -> Result<(), Error> {
    Ok(group::post(content)?)
}
