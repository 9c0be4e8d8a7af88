//! A node inside a Rust program: an origin that publishes a directory and answers until Ctrl-C.
//!
//! ```text
//! cargo run -p parlor-examples --example embed [DIRECTORY]
//! ```
//!
//! Whatever the command line can do, [`Node::execute`] can: one `Command` a verb, the same JSON as its answer.

use std::path::PathBuf;

use parlor_node::{
    Config, Node, Started,
    console::{Catalog, Command, Publish},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = std::env::args_os().nth(1).map_or_else(|| "examples/programs/chat".into(), PathBuf::from);
    // One directory is all that a node is: the same home again is the same node again.
    let config = Config { nickname: Some("Embedded".into()), ..Config::new("target/embedded-node") };
    let Started { node, console } = Node::start(config).await?;
    println!("console: {console}");

    let (copies, copies_max, price, billing, lease) = (None, Some(8), None, Vec::new(), None);
    let offer = Publish { path: program, copies, copies_max, price, billing, lease };
    node.execute(Command::Publish(offer)).await?;
    let catalog = node.execute(Command::Catalog(Catalog { who: None })).await?;
    println!("catalog: {:#}", catalog["programs"]);

    for address in node.execute(Command::Id).await?["addrs"].as_array().into_iter().flatten() {
        println!("from another node: parlor get {} NAME", address.as_str().unwrap_or_default());
    }
    tokio::signal::ctrl_c().await?;
    node.stop().await;
    Ok(())
}
