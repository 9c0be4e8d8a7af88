//! What `watch` sees of a session: its state, everyone's, every update from the first, realtime messages as
//! they come.

use parlor_proto::ids::SessionId;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use super::CommandError;
use crate::{
    Node,
    group::{Group, Realtime},
    runtime::update,
    store::StoredUpdate,
};

/// Updates that are read at a time.
const PAGE: usize = 100;

/// Lines until the session ends, or nobody reads them any more.
pub(super) async fn watch(
    node: &Node,
    session: SessionId,
    lines: &mpsc::Sender<Value>,
) -> Result<(), CommandError> {
    let mut events = node.context().events.subscribe();
    let view = node.sessions().view(session).await?;
    emit(lines, json!({"event": "state", "session": session, "state": view.state})).await?;
    for member in &view.members {
        let (peer, name, state) = (member.peer, &member.name, member.state);
        let line = json!({"event": "member", "session": session, "peer": peer, "name": name, "state": state});
        emit(lines, line).await?;
    }
    for (part, text) in node.sessions().agent_lines(session).await? {
        emit(lines, json!({"event": "line", "session": session, "part": part, "text": text})).await?;
    }
    let mut serial = 0;
    let mut open: Option<(Group, tokio::sync::watch::Receiver<u64>, broadcast::Receiver<Realtime>)> = None;
    loop {
        if open.is_none() {
            open = node.sessions().group(session).map(|group| {
                let (mut newest, realtime) = (group.newest(), group.realtime());
                // History first.
                newest.mark_changed();
                (group, newest, realtime)
            });
        }
        let ended = match &mut open {
            Some((group, newest, realtime)) => {
                tokio::select! {
                    changed = newest.changed() => match changed {
                        Ok(()) => serial = updates(node, session, Some(group), serial, lines).await?,
                        Err(_) => open = None,
                    },
                    message = realtime.recv() => if let Ok(message) = message {
                        emit(lines, realtime_line(group, session, &message)).await?;
                    },
                    event = events.recv() => if tell(session, event, lines).await? {
                        open = None;
                    },
                }
                open.is_none()
            }
            None => tell(session, events.recv().await, lines).await?,
        };
        if ended || node.sessions().view(session).await?.is_over() {
            updates(node, session, None, serial, lines).await?;
            return Ok(());
        }
    }
}

/// One event of the node; whether the session is over with it.
async fn tell(
    session: SessionId,
    event: Result<crate::context::Event, broadcast::error::RecvError>,
    lines: &mpsc::Sender<Value>,
) -> Result<bool, CommandError> {
    match event {
        Ok(event) if event.session() == Some(session) => {
            emit(lines, serde_json::to_value(&event)?).await?;
            Ok(false)
        }
        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => Ok(false),
        Err(broadcast::error::RecvError::Closed) => Ok(true),
    }
}

/// What came after `serial`; the newest serial told.
async fn updates(
    node: &Node,
    session: SessionId,
    group: Option<&Group>,
    mut serial: u64,
    lines: &mpsc::Sender<Value>,
) -> Result<u64, CommandError> {
    let has_agent = node.sessions().view(session).await?.agent;
    loop {
        let page = node.context().store.updates_after(session, serial, PAGE).await?;
        for stored in &page {
            serial = stored.serial;
            let mut line = update_line(group, session, stored);
            // Which says in its own words what it means.
            line["agent"] = has_agent.into();
            emit(lines, line).await?;
        }
        if page.len() < PAGE {
            return Ok(serial);
        }
    }
}

/// Whatever a member posted, this is a line; what nobody could read has `null` for a payload, and says why.
fn update_line(group: Option<&Group>, session: SessionId, stored: &StoredUpdate) -> Value {
    let sender = stored.update.sender();
    let name = group.map_or_else(|| crate::group::short_name(sender), |group| group.name_of(sender));
    let (content, unreadable) = update::shown(&stored.update.payload);
    let mut line = json!({
        "event": "update", "session": session, "serial": stored.serial, "sender": sender, "name": name,
        "at": crate::clock::rfc3339(stored.update.at),
        "payload": update::parsed(&content.payload),
    });
    let why = unreadable.map(|why| why.to_string());
    let signs = [
        ("info", content.info),
        ("document", content.document),
        ("summary", content.summary),
        ("unreadable", why),
    ];
    for (key, sign) in signs {
        if let Some(sign) = sign {
            line[key] = sign.into();
        }
    }
    line
}

/// Text as text; other bytes as hex, and said so.
fn realtime_line(group: &Group, session: SessionId, message: &Realtime) -> Value {
    let (encoding, payload) = match std::str::from_utf8(&message.data) {
        Ok(text) => ("utf-8", text.to_owned()),
        Err(_) => ("hex", hex::encode(&message.data)),
    };
    let (sender, name) = (message.sender, group.name_of(message.sender));
    json!({"event": "realtime", "session": session, "sender": sender, "name": name,
           "encoding": encoding, "payload": payload})
}

async fn emit(lines: &mpsc::Sender<Value>, line: Value) -> Result<(), CommandError> {
    lines.send(line).await.map_err(|_| CommandError::Gone)
}
