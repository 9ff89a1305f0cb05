//! All agents that the loop knows, by name.
//!
//! Invariant: they stand in the order of their names, so that whoever goes through all of them
//! does so in the same order every time. One is found by its name's hash: a turn looks its agent up ten times,
//! and in a search tree each time costs more the more agents there are.

use indexmap::{IndexMap, map::Entry};
use osmoda_core::name::AgentName;

use super::agent::AgentState;

/// The agents. An agent lies in a place of its own: what is moved to make room is small, and so
/// is what is read to find one.
#[derive(Debug, Default)]
pub(super) struct Agents(IndexMap<AgentName, Box<AgentState>>);

impl Agents {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn contains_key(&self, name: &AgentName) -> bool {
        self.0.contains_key(name)
    }

    pub fn get(&self, name: &AgentName) -> Option<&AgentState> {
        self.0.get(name).map(|state| &**state)
    }

    pub fn get_mut(&mut self, name: &AgentName) -> Option<&mut AgentState> {
        self.0.get_mut(name).map(|state| &mut **state)
    }

    /// The agent of this name, which is made by `new` if it is not known.
    pub fn get_or_insert_with(
        &mut self,
        name: AgentName,
        new: impl FnOnce() -> AgentState,
    ) -> &mut AgentState {
        match self.0.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert_sorted(Box::new(new())).1,
        }
    }

    /// Takes an agent out; costs as much as there are agents after it.
    pub fn remove(&mut self, name: &AgentName) -> Option<AgentState> {
        self.0.shift_remove(name).map(|state| *state)
    }

    /// Their names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &AgentName> {
        self.0.keys()
    }

    /// All of them, in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &AgentState> {
        self.0.values().map(|state| &**state)
    }

    /// All of them with their names, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentName, &AgentState)> {
        self.0.iter().map(|(name, state)| (name, &**state))
    }

    /// As [`Agents::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&AgentName, &mut AgentState)> {
        self.0.iter_mut().map(|(name, state)| (name, &mut **state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AgentName {
        AgentName::new(text).unwrap()
    }

    #[test]
    fn they_stand_in_the_order_of_their_names_whoever_comes_and_goes() {
        let mut agents = Agents::default();
        for text in ["c", "a", "e", "b"] {
            agents.get_or_insert_with(name(text), AgentState::default);
        }
        assert!(agents.remove(&name("a")).is_some());
        assert!(agents.remove(&name("a")).is_none());
        agents.get_or_insert_with(name("d"), AgentState::default);
        agents.get_or_insert_with(name("a"), AgentState::default);
        let names: Vec<_> = agents.keys().map(AgentName::as_str).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn who_is_known_stays_as_it_is() {
        let mut agents = Agents::default();
        let new = || AgentState {
            serves: true,
            ..AgentState::default()
        };
        agents.get_or_insert_with(name("a"), new);
        let known = agents.get_or_insert_with(name("a"), AgentState::default);
        assert!(known.serves);
        assert_eq!(agents.len(), 1);
    }
}
