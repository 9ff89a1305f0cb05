//! Dependencies: who waits for whom, and whose failure explains whose.
//!
//! An agent whose dependency is not ready is held, not blamed: it is not started, its failures
//! meanwhile spend no budget and belong to the incident of the root, and while it runs it is
//! left alone.

use std::collections::BTreeSet;

use crate::name::AgentName;

/// A dependency that is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Which.
    pub agent: AgentName,
    /// The incident that explains it, if one is open: its own or that of what it waits for.
    pub incident: Option<String>,
}

/// The agents in an order in which everybody comes after what it depends on. Within a cycle,
/// which validation refuses, the order is by name.
pub fn in_order<'a>(
    agents: impl IntoIterator<Item = &'a AgentName>,
    depends_on: impl Fn(&AgentName) -> &'a [AgentName],
) -> Vec<&'a AgentName> {
    let wanted: BTreeSet<_> = agents.into_iter().collect();
    let mut order = Vec::with_capacity(wanted.len());
    let mut visited = BTreeSet::new();
    for agent in &wanted {
        visit(agent, &depends_on, &mut visited, &mut order);
    }
    order.retain(|agent| wanted.contains(agent));
    order
}

/// Depth first, without recursion: a chain may be as long as there are agents.
fn visit<'a>(
    first: &'a AgentName,
    depends_on: &impl Fn(&AgentName) -> &'a [AgentName],
    visited: &mut BTreeSet<&'a AgentName>,
    order: &mut Vec<&'a AgentName>,
) {
    if !visited.insert(first) {
        return;
    }
    let mut path = vec![(first, depends_on(first).iter())];
    while let Some((agent, rest)) = path.last_mut() {
        match rest.next() {
            Some(next) => {
                if visited.insert(next) {
                    path.push((next, depends_on(next).iter()));
                }
            }
            None => {
                order.push(*agent);
                path.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn names(names: &[&str]) -> Vec<AgentName> {
        names.iter().map(|n| AgentName::new(n).unwrap()).collect()
    }

    #[test]
    fn everybody_comes_after_what_it_depends_on() {
        let agents = names(&["a", "b", "c", "d"]);
        let needs: BTreeMap<_, _> = [("a", names(&["c", "d"])), ("c", names(&["b"]))]
            .map(|(name, needs)| (AgentName::new(name).unwrap(), needs))
            .into();
        let order = in_order(&agents, |agent| needs.get(agent).map_or(&[], Vec::as_slice));
        let order: Vec<_> = order.iter().map(|name| name.to_string()).collect();
        assert_eq!(order, ["b", "c", "d", "a"]);
        let few = names(&["a", "b"]);
        let order = in_order(&few, |agent| needs.get(agent).map_or(&[], Vec::as_slice));
        let order: Vec<_> = order.iter().map(|name| name.to_string()).collect();
        assert_eq!(order, ["b", "a"], "through one that is not asked for");
    }

    #[test]
    fn a_cycle_ends() {
        let agents = names(&["a", "b"]);
        let (a, b) = (names(&["a"]), names(&["b"]));
        let order = in_order(&agents, |agent| if agent == &a[0] { &b } else { &a });
        assert_eq!(order.len(), 2);
    }
}
