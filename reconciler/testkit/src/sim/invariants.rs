//! What must hold after every step: one instance of each agent, a ledger that verifies, and
//! nothing that the monitor has found broken.

use osmoda_core::digest::Digest;
use osmoda_ledger::tlog;

use super::Simulation;

/// How far the ledger has been verified, so that each entry is read once.
#[derive(Debug, Default)]
pub struct Verified {
    size: u64,
    chain: Option<Digest>,
}

impl Simulation {
    /// Holds after every step.
    pub(super) fn check(&mut self) -> Result<(), String> {
        for agent in &self.names {
            let most = self.world.most_alive(agent);
            if most > 1 {
                return Err(format!("{agent} has {most} instances"));
            }
        }
        self.check_chain()?;
        self.monitor.violation().map_or(Ok(()), Err)
    }

    /// The ledger verifies: leaves, chain and head.
    fn check_chain(&mut self) -> Result<(), String> {
        let head = self.disk.head();
        let mut chain = self
            .verified
            .chain
            .unwrap_or_else(|| tlog::chain_start(&head.origin));
        for record in self.disk.records(self.verified.size) {
            let bytes = record
                .entry
                .as_deref()
                .ok_or("an entry has lost its body")?;
            if tlog::leaf(bytes) != record.leaf {
                return Err(format!("entry {} does not hash to its leaf", record.seq));
            }
            chain = tlog::chain_next(&chain, &record.leaf);
            if chain != record.chain {
                return Err(format!("the chain breaks at entry {}", record.seq));
            }
        }
        if chain != head.chain {
            return Err("the chain does not lead to its head".into());
        }
        self.verified.chain = Some(chain);
        self.verified.size = head.size;
        Ok(())
    }
}
