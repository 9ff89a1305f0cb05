//! What a spec may say already, although this version does not act on it yet.
//!
//! Such a field is decoded and checked like any other, so that a spec is right the day it is
//! acted on; until then whoever sets it is told. A feature that lands deletes its row here.

use super::{AgentSpec, Node, Sandbox};

type Rows<T> = &'static [(&'static str, fn(&T) -> bool)];

/// Paths within `spec` of an Agent, and whether they are set away from their default.
const AGENT: Rows<AgentSpec> = &[("sandbox", |spec| spec.sandbox != Sandbox::default())];

/// Paths within `spec` of a Node, and whether they are set away from their default: every one
/// is acted on now.
const NODE: Rows<Node> = &[];

/// Fields of an agent's `spec` that are set and not acted on by this version, as paths within
/// `spec` in the order of the alphabet.
pub fn unenforced(spec: &AgentSpec) -> Vec<&'static str> {
    set(AGENT, spec)
}

/// The same for a Node.
pub fn unenforced_node(node: &Node) -> Vec<&'static str> {
    set(NODE, node)
}

fn set<T>(rows: Rows<T>, value: &T) -> Vec<&'static str> {
    let rows = rows.iter().filter(|(_, is_set)| is_set(value));
    rows.map(|(path, _)| *path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_leave_nothing_unenforced() {
        assert_eq!(unenforced(&AgentSpec::new(vec!["a".into()])), [""; 0]);
        assert_eq!(unenforced_node(&Node::default()), [""; 0]);
    }

    #[test]
    fn a_field_that_is_set_is_named_by_its_path() {
        let mut spec = AgentSpec::new(vec!["a".into()]);
        spec.sandbox = Sandbox::Off;
        assert_eq!(unenforced(&spec), ["sandbox"]);
    }
}
