//! Stories across nodes: what users do and what then happens, one file a story.
//!
//! All of them drive real `parlor` processes by the command line alone (see the harness, `parlor_tests`).

mod agents;
mod bad_input;
mod browser;
mod cards_and_library;
mod cli;
mod cose;
mod crashes;
mod demo;
mod first_light;
mod full_disk;
mod homes;
mod hostile_agents;
mod internet;
mod interop;
mod javascript;
mod lan;
mod leftovers;
mod links;
mod order;
mod outputs;
mod pages;
mod proofs;
mod refusals;
mod succession;
