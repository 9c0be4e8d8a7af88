//! The verbs of proofs against hosts: what this node found, to be shown to others, and what others show.

use std::{collections::BTreeMap, path::Path};

use parlor_proto::rights::{EquivocationProof, MAX_PROOF_LEN, ProofError};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::{
    CommandError, ProofCommand,
    execute::{NotUnique, unique, write_file},
};
use crate::{Node, clock, store::Cheat};

pub(super) async fn proof(node: &Node, command: ProofCommand) -> Result<Value, CommandError> {
    Ok(match command {
        ProofCommand::List => {
            let mut kept: Vec<_> = kept(node).await?.into_iter().collect();
            kept.sort_by_key(|(_, cheat)| cheat.found_at);
            let item = |(id, cheat): &(String, Cheat)| {
                json!({"proof": id, "ticket": cheat.proof.ticket(), "host": cheat.proof.host(),
                       "found_at": clock::rfc3339(cheat.found_at)})
            };
            json!({"proofs": kept.iter().map(item).collect::<Vec<_>>()})
        }
        ProofCommand::Export { proof, file, force } => {
            let kept = kept(node).await?;
            let id = unique(&proof, kept.keys()).map_err(|error| match error {
                NotUnique::None => CommandError::NoSuchProof(proof.clone()),
                NotUnique::Many => CommandError::Ambiguous(proof.clone()),
                NotUnique::Short => CommandError::Short(proof.clone()),
            })?;
            write_file(&file, &kept[id].proof.encode(), force).await?;
            json!({"proof": id, "file": file})
        }
        ProofCommand::Check { file } => {
            let broken = |error| CommandError::Proof(file.display().to_string(), error);
            let proof = EquivocationProof::decode(&read(&file).await?).map_err(broken)?;
            shown(&proof)
        }
    })
}

/// What this node found as a member, and what the books of the billing peer in it hold: by id.
async fn kept(node: &Node) -> Result<BTreeMap<String, Cheat>, CommandError> {
    let books = node.billing().book().proofs().await?;
    let books = books.into_iter().map(|kept| Cheat { found_at: kept.found_at, proof: kept.proof });
    let found = node.context().store.cheats().await?;
    // Found in both ways, it is one proof: the list says what the node saw for itself.
    Ok(books.chain(found).map(|cheat| (id_of(&cheat.proof), cheat)).collect())
}

/// The same for the same two slots, wherever they were found and in whichever order.
fn id_of(proof: &EquivocationProof) -> String {
    let mut slots = proof.slots().map(|slot| *slot.hash().as_bytes());
    slots.sort_unstable();
    blake3::hash(&slots.concat()).to_hex().to_string()
}

/// What is proven; `k` and `generation` are those of the later slot.
fn shown(proof: &EquivocationProof) -> Value {
    let slots = proof.slots();
    let member = |slot: &&parlor_proto::rights::Verified<parlor_proto::rights::Slot>| {
        json!({"peer": slot.member, "k": slot.k, "generation": slot.generation, "slot": slot.hash(),
               "host": slot.host, "issued_at": clock::rfc3339(slot.issued_at)})
    };
    json!({
        "stands": true, "proof": id_of(proof), "host": proof.host(), "ticket": proof.ticket(),
        "k": slots[1].k, "generation": slots[1].generation,
        "members": slots.iter().map(member).collect::<Vec<_>>(),
    })
}

/// A file that may be a proof: of a longer one no more than is needed to see that it is none.
async fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    let failed = |error| CommandError::Read(file.display().to_string(), error);
    let opened = tokio::fs::File::open(file).await.map_err(failed)?;
    let mut bytes = Vec::new();
    opened.take(MAX_PROOF_LEN as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.is_empty() {
        return Err(CommandError::Proof(file.display().to_string(), ProofError::Format));
    }
    Ok(bytes)
}
