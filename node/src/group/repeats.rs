//! Posts that are asked for again.
//!
//! For: [`answer`], which sorts them out before the writer takes its commands. Not for: remembering keys (see
//! [`super::batch`], which writes them with their updates).

use std::{collections::HashSet, sync::Arc};

use super::{Command, Inner, PostError};

/// Answers those of `commands` that are posted already, and takes them out. What is returned has to wait for `commands`:
/// it is asked for a second time among them, before the first is written.
pub(super) async fn answer(inner: &Inner, commands: &mut Vec<Command>) -> Vec<Command> {
    let (mut first, mut later) = (Vec::with_capacity(commands.len()), Vec::new());
    let mut keys = HashSet::new();
    for command in commands.drain(..) {
        let Command::Post { key: Some(key), .. } = &command else {
            first.push(command);
            continue;
        };
        if !keys.insert(key.clone()) {
            later.push(command);
            continue;
        }
        let before = inner.store.sent(inner.session, key).await;
        match (before, command) {
            (Ok(None), command) => first.push(command),
            // Whoever asked may have stopped waiting.
            (Ok(Some(serial)), Command::Post { reply, .. }) => drop(reply.send(Ok(serial))),
            (Err(error), Command::Post { reply, .. }) => {
                drop(reply.send(Err(PostError::Store(Arc::new(error)))));
            }
            // It is a post: see above.
            (_, command) => first.push(command),
        }
    }
    *commands = first;
    later
}
