//! The chapters, in order.

mod adoption;
mod crash;
mod edit;
mod ledger;
mod start;

use std::collections::BTreeMap;

use super::{scene::Scene, view::Agent};

/// What a later chapter has to know of the earlier ones.
#[derive(Debug, Default)]
pub struct Memory {
    /// The agents as they ran last.
    pub agents: BTreeMap<String, Agent>,
    /// The entry that tells of the agent's death.
    pub failure: u64,
}

type Chapter = fn(&mut Scene, &mut Memory) -> anyhow::Result<()>;

/// Title and chapter.
pub const CHAPTERS: [(&str, Chapter); 7] = [
    (
        "The desired state: three agents, declared in Nix",
        start::evaluate,
    ),
    ("The node daemon makes it so", start::converge),
    ("An agent is killed with SIGKILL", crash::tell),
    (
        "A spec is edited: look at the difference first, then let it converge",
        edit::tell,
    ),
    ("The daemon itself is killed with SIGKILL", adoption::tell),
    ("The ledger, and one flipped bit", ledger::tell),
    ("The end", ledger::end),
];
