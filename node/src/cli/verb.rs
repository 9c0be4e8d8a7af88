//! Every verb but `up` and `demo`: to the running node, and its answer to the terminal.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{DONE, NO_NODE, fail, print};
use crate::console::{
    CardCommand, Command, ProofCommand, TicketCommand,
    client::{self, ClientError},
};

pub(super) async fn verb(home: &Path, command: Command, json: bool) -> u8 {
    let command = from_here(command);
    match converse(home, &command, json).await {
        Ok(()) => DONE,
        Err(error @ ClientError::NotRunning(_)) => {
            fail(&error);
            NO_NODE
        }
        Err(error) => fail(&error),
    }
}

async fn converse(home: &Path, command: &Command, json: bool) -> Result<(), ClientError> {
    let mut answer = client::send(home, command).await?;
    let bar = progress_bar(json);
    let mut last: Option<Value> = None;
    while let Some(line) = answer.next().await? {
        // For people only: with `--json` the answer is one object.
        if line["event"] == "progress" {
            bar.set_length(line["total"].as_u64().unwrap_or(0));
            bar.set_position(line["done"].as_u64().unwrap_or(0));
            continue;
        }
        // Whoever reads the output may have gone: then there is nothing left to do.
        let printed = match json {
            true => writeln!(std::io::stdout().lock(), "{line}"),
            false => print::line(&mut std::io::stdout().lock(), command, &line),
        };
        if printed.and_then(|()| std::io::stdout().lock().flush()).is_err() {
            return Ok(());
        }
        last = Some(line);
    }
    bar.finish_and_clear();
    if last.is_none() && !matches!(command, Command::Watch(_) | Command::Events) {
        return Err(ClientError::Gone("no answer".into()));
    }
    Ok(())
}

fn progress_bar(json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:32} {binary_bytes:>10} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
    ProgressBar::new(0)
        .with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Files are named from where the user is, not from where the node was started.
fn from_here(mut command: Command) -> Command {
    let here = |path: &mut PathBuf| {
        if let Ok(absolute) = std::path::absolute(&*path) {
            *path = absolute;
        }
    };
    match &mut command {
        Command::Publish(publish) => here(&mut publish.path),
        Command::Card(CardCommand::Write { file, .. } | CardCommand::Read { file }) => here(file),
        Command::Proof(ProofCommand::Export { file, .. } | ProofCommand::Check { file }) => here(file),
        Command::Ticket(TicketCommand::Show { cose: Some(file), .. }) => here(file),
        _ => {}
    }
    command
}
