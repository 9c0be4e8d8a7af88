//! Makes a component of a module: `parlor-agent-pack MODULE COMPONENT`.
//!
//! For: the last step of building an agent in Rust. Not for: finding or compiling agents, see `scripts/build-agents`.
//!
//! The idea: the module carries its half of the contract in a section of its own, which the encoder reads. The result
//! is checked before it is written: it is a valid component, and imports nothing but `parlor:agent`.

use std::{env, fs};

use anyhow::{Context, bail};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wit_component::ComponentEncoder;

/// What an agent may import here.
const CONTRACT: &str = "parlor:agent/";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [module, target] = arguments.as_slice() else {
        bail!("usage: parlor-agent-pack MODULE COMPONENT");
    };
    let module = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = encode(&module)?;
    check(&component)?;
    fs::write(target, component).with_context(|| format!("cannot write {}", target.display()))
}

/// The component of a module.
fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    ComponentEncoder::default().module(module)?.validate(true).encode().context("this is no agent")
}

/// Whether it is a valid component that imports nothing but the contract.
fn check(component: &[u8]) -> anyhow::Result<()> {
    Validator::new_with_features(WasmFeatures::default()).validate_all(component)?;
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let name = import?.name.name;
                    if !name.starts_with(CONTRACT) {
                        bail!("it imports {name}, which is not of {CONTRACT}");
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
