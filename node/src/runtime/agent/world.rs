//! The world of `proto/wit/agent.wit` in Rust, as Wasmtime's macro writes it.
//!
//! For: the traits that `imports` fills, the calls that `instance` makes, and how this module's public types become
//! those of the world. Not for: anything that decides.
//!
//! The idea: generated types stay in here. Whoever runs an agent sees only what [`super`] defines.

// Generated code is not documented, and not ours to shape.
#![allow(missing_docs, unreachable_pub)]

use super::{Content, KeepError, Member, Pack, Readiness, SayError, Scope, Update};

wasmtime::component::bindgen!({
    path: "../proto/wit",
    world: "agent",
    imports: {
        "parlor:agent/group.send": trappable,
        "parlor:agent/group.post": async | trappable,
        "parlor:agent/store": async,
        "parlor:agent/files.read": async,
        "parlor:agent/packs": async,
        "parlor:agent/output": trappable,
    },
    exports: { default: async },
});

pub(super) use self::{
    exports::parlor::agent::events,
    parlor::agent::{files, group, output, packs, store, system, types},
};

impl From<Member> for types::Member {
    fn from(Member { addr, name, is_host }: Member) -> Self {
        Self { addr, name, is_host }
    }
}

impl From<Content> for types::Content {
    fn from(Content { payload, info, document, summary }: Content) -> Self {
        Self { payload, info, document, summary }
    }
}

impl From<types::Content> for Content {
    fn from(types::Content { payload, info, document, summary }: types::Content) -> Self {
        Self { payload, info, document, summary }
    }
}

impl From<Update> for types::Update {
    fn from(Update { serial, sender, is_own, content }: Update) -> Self {
        Self { serial, sender, is_own, content: content.into() }
    }
}

impl From<SayError> for group::Error {
    fn from(error: SayError) -> Self {
        match error {
            SayError::TooLarge(most) => Self::TooLarge(most),
            SayError::Full => Self::Full,
            SayError::Closed | SayError::NotWritten => Self::Closed,
            SayError::Malformed => Self::Malformed,
        }
    }
}

impl From<KeepError> for store::Error {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Full => Self::Full,
            KeepError::Failed => Self::Failed,
        }
    }
}

impl From<Pack> for packs::Pack {
    fn from(Pack { id, name, version, origin, levels }: Pack) -> Self {
        Self { id, name, version, origin, levels }
    }
}

impl From<store::Scope> for Scope {
    fn from(scope: store::Scope) -> Self {
        match scope {
            store::Scope::Session => Self::Session,
            store::Scope::User => Self::User,
        }
    }
}

impl From<events::Readiness> for Readiness {
    fn from(readiness: events::Readiness) -> Self {
        match readiness {
            events::Readiness::Ready => Self::Ready,
            events::Readiness::GoOn => Self::GoOn,
        }
    }
}
