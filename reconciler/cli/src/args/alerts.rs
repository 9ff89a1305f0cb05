//! The command line of `osmoda alerts`.

use clap::Subcommand;
use osmoda_core::name::AgentName;

use super::{Output, agent_name};

/// What can be asked of alerts.
#[derive(Debug, Subcommand)]
pub enum Alerts {
    /// Show who is told, whether messages get through, and what waits
    List {
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Send a test message to a receiver now; exits 1 if it was not taken
    Test {
        /// Its name in `alerts` of the Node's spec
        #[arg(value_parser = agent_name)]
        name: AgentName,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
}
