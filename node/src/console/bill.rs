//! The verbs of a billing peer's books.

use parlor_proto::billing::{Invoice, Statement};
use serde_json::{Value, json};

use super::{BillCommand, CommandError, ExportFormat};
use crate::{Node, billing::export, clock};

pub(super) async fn bill(node: &Node, command: BillCommand) -> Result<Value, CommandError> {
    let (context, book) = (node.context(), node.billing().book());
    Ok(match command {
        BillCommand::Receipts => json!({"receipts": book.receipts().await?}),
        BillCommand::Statement { payer } => {
            let payer = match payer {
                Some(who) => Some(context.resolve(&who).await?),
                None => None,
            };
            let statement = Statement::of(&book.entries(payer).await?)?;
            json!({"statement": statement, "overdrawn": book.overdrawn().await?})
        }
        BillCommand::Invoice { payer } => {
            let payer = context.resolve(&payer).await?;
            let entries = book.entries(Some(payer)).await?;
            let date = clock::rfc3339(clock::now());
            let day = date.split('T').next().unwrap_or(&date).to_owned();
            let last = entries.last().map_or(0, |entry| entry.position);
            let short = &payer.to_string()[46..];
            let number = format!("{}-{short}-{last}", day.replace('-', ""));
            let invoice = Invoice::of(number, day, context.me(), payer, &entries)?;
            json!({"text": invoice.to_string(), "invoice": invoice})
        }
        BillCommand::Export { format } => {
            let entries = book.entries(None).await?;
            let text = match format {
                ExportFormat::Csv => export::csv(&entries)?,
                ExportFormat::Json => export::json(&entries)?,
                ExportFormat::Hledger => export::hledger(&entries),
            };
            json!({"format": format, "text": text})
        }
    })
}
