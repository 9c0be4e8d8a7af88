//! The other end of the Unix socket: how the command line talks to the running node.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::Command;
use crate::home::control_socket;

/// Longest line of an answer, bytes.
const MAX_LINE: usize = 64 << 20;

/// Why a command got no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ClientError {
    #[error("no node is running in {0}: start one with `parlor up`")]
    NotRunning(String),
    #[error("the node stopped before it answered")]
    Gone(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Refused(String),
}

/// An answer, line by line.
pub struct Answer {
    body: Incoming,
    buffer: BytesMut,
}

/// Sends a command to the node that runs in `home`.
pub async fn send(home: &Path, command: &Command) -> Result<Answer, ClientError> {
    let not_running = |_| ClientError::NotRunning(home.display().to_string());
    let stream = UnixStream::connect(control_socket(home)).await.map_err(not_running)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
    tokio::spawn(connection);
    let body = serde_json::to_vec(command).map_err(gone)?;
    let request = Request::post("/control")
        .header(header::HOST, "parlor")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(gone)?;
    let response = sender.send_request(request).await.map_err(gone)?;
    if !response.status().is_success() {
        let text = response.into_body().collect().await.map_err(gone)?.to_bytes();
        return Err(ClientError::Refused(String::from_utf8_lossy(&text).into_owned()));
    }
    Ok(Answer { body: response.into_body(), buffer: BytesMut::new() })
}

impl Answer {
    /// The next line; `None` after the last. An error line is an error.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let line: Value = serde_json::from_slice(&line).map_err(gone)?;
                return match line.pointer("/error/message").and_then(Value::as_str) {
                    Some(message) => Err(ClientError::Refused(message.to_owned())),
                    None => Ok(Some(line)),
                };
            }
            let frame = match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => frame.map_err(gone)?,
            };
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(gone(std::io::Error::other("a line that never ends")));
            }
        }
    }
}

fn gone(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Gone(error.into())
}
