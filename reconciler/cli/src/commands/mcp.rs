//! `osmoda mcp`.

use std::io;

use super::client;
use crate::{
    args::{Global, Mcp},
    failure::Outcome,
    mcp,
};

/// Serves the Model Context Protocol until standard input ends.
pub fn mcp(global: &Global, args: &Mcp) -> Outcome {
    let (input, output) = (io::stdin().lock(), io::stdout().lock());
    mcp::serve(client(global)?, args.allow_actions, input, output)
}
