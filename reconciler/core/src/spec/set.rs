//! The rules between documents: every name once, every dependency declared, no circle, at most
//! one Node.
//!
//! A broken rule refuses the documents that break it and no other: agents that merely depend
//! on a refused one stay valid, because its last valid spec stays in force.
//!
//! Where to start: [`check`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Node,
    decode::{AgentDraft, Document, Invalid, NodeDraft, Subject, did_you_mean},
    error::{SpecError, SpecErrorKind},
    nearest::nearest,
    tree::Span,
};
use crate::name::AgentName;

/// All valid documents, and what the rules between them refuse.
#[derive(Debug, Default)]
pub struct SpecSet {
    /// Agents by name, each with the number of its source.
    pub agents: BTreeMap<AgentName, (usize, AgentDraft)>,
    /// The node and the number of its source.
    pub node: Option<(usize, Node)>,
    /// What was refused, by source.
    pub refused: Vec<Refused>,
}

/// One mistake, and the document that it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Number of the source.
    pub source: usize,
    /// What the document would have declared.
    pub subject: Subject,
    /// The mistake.
    pub error: SpecError,
}

/// What an agent is written to depend on, whatever else is wrong with it.
struct Declared {
    source: usize,
    name_span: Span,
    depends_on: Vec<(AgentName, Span)>,
}

/// Checks documents against each other.
///
/// `documents` come with the number of their source; invalid ones take part with their names, so
/// that a dependency on one is not called unknown, and with their dependencies. `elsewhere` are names that may well be
/// declared in a source that cannot be read at all.
pub fn check(
    documents: Vec<(usize, Result<Document, Invalid>)>,
    elsewhere: &BTreeSet<AgentName>,
) -> SpecSet {
    let mut set = SpecSet::default();
    let mut claims: BTreeMap<AgentName, Vec<(usize, Span)>> = BTreeMap::new();
    let mut nodes: Vec<(usize, Span)> = Vec::new();
    let mut drafts: Vec<(usize, AgentDraft)> = Vec::new();
    let mut declared: Vec<(AgentName, Declared)> = Vec::new();
    for (source, document) in documents {
        match document {
            Ok(Document::Agent(draft)) => {
                let name = draft.name.clone();
                claims
                    .entry(name)
                    .or_default()
                    .push((source, draft.name_span));
                declared.push((draft.name.clone(), Declared::of(source, &draft)));
                drafts.push((source, *draft));
            }
            Ok(Document::Node(draft)) => {
                let NodeDraft { node, span } = *draft;
                nodes.push((source, span));
                set.node = Some((source, node));
            }
            Err(Invalid {
                subject,
                errors,
                depends_on,
            }) => {
                match &subject {
                    Subject::Agent(name, span) => {
                        claims
                            .entry(name.clone())
                            .or_default()
                            .push((source, *span));
                        let agent = Declared {
                            source,
                            name_span: *span,
                            depends_on,
                        };
                        declared.push((name.clone(), agent));
                    }
                    Subject::Node(span) => nodes.push((source, *span)),
                    Subject::Unknown => {}
                }
                set.refused.extend(errors.into_iter().map(|error| Refused {
                    source,
                    subject: subject.clone(),
                    error,
                }));
            }
        }
    }
    set.one_node(&nodes);
    set.names_once(&claims);
    let known: BTreeSet<&AgentName> = claims.keys().chain(elsewhere).collect();
    let is_unique = |name: &AgentName| claims.get(name).is_none_or(|all| all.len() == 1);
    for (source, draft) in drafts {
        if is_unique(&draft.name) && set.dependencies_exist(source, &draft, &known) {
            set.agents.insert(draft.name.clone(), (source, draft));
        }
    }
    declared.retain(|(name, _)| is_unique(name));
    set.no_circle(&declared.into_iter().collect());
    set
}

impl Declared {
    fn of(source: usize, draft: &AgentDraft) -> Self {
        let names = draft.spec.depends_on.iter().cloned();
        Self {
            source,
            name_span: draft.name_span,
            depends_on: names.zip(draft.dependency_spans.iter().copied()).collect(),
        }
    }
}

impl SpecSet {
    fn refuse(&mut self, source: usize, subject: Subject, error: SpecError) {
        self.refused.push(Refused {
            source,
            subject,
            error,
        });
    }

    fn one_node(&mut self, nodes: &[(usize, Span)]) {
        if nodes.len() < 2 {
            return;
        }
        self.node = None;
        for (index, &(source, span)) in nodes.iter().enumerate() {
            let error = SpecError::new(SpecErrorKind::SecondNode, "kind", span);
            let error = point_at_other(error, nodes, index, "another one is here");
            let error = error.hint("keep one, and move into it what the others say");
            self.refuse(source, Subject::Node(span), error);
        }
    }

    fn names_once(&mut self, claims: &BTreeMap<AgentName, Vec<(usize, Span)>>) {
        for (name, places) in claims.iter().filter(|(_, places)| places.len() > 1) {
            for (index, &(source, span)) in places.iter().enumerate() {
                let kind = SpecErrorKind::DuplicateAgent { name: name.clone() };
                let error = SpecError::new(kind, "metadata.name", span);
                let error = point_at_other(error, places, index, "also declared here");
                self.refuse(source, Subject::Agent(name.clone(), span), error);
            }
        }
    }

    /// Notes each dependency on an agent that nobody declares; true if there is none.
    fn dependencies_exist(
        &mut self,
        source: usize,
        draft: &AgentDraft,
        known: &BTreeSet<&AgentName>,
    ) -> bool {
        let mut all_exist = true;
        for (index, name) in draft.spec.depends_on.iter().enumerate() {
            if known.contains(name) {
                continue;
            }
            all_exist = false;
            let span = dependency_span(draft, index);
            let kind = SpecErrorKind::UnknownAgent { name: name.clone() };
            let mut error = SpecError::new(kind, format!("spec.dependsOn[{index}]"), span);
            let others = known.iter().filter(|other| ***other != draft.name);
            let names = others.map(|other| other.as_str());
            error.hint = nearest(name.as_str(), names).map(did_you_mean);
            self.refuse(source, subject(draft), error);
        }
        all_exist
    }

    /// Refuses who is part of a ring, also one that is closed by agents with other mistakes.
    fn no_circle(&mut self, declared: &BTreeMap<AgentName, Declared>) {
        for ring in rings(declared) {
            for (index, name) in ring.iter().enumerate() {
                let Some(agent) = declared.get(name) else {
                    continue;
                };
                self.agents.remove(name);
                let mut turned = ring.clone();
                turned.rotate_left(index);
                let next = turned.get(1);
                let depends_on = &agent.depends_on;
                let edge = (depends_on.iter()).position(|(name, _)| Some(name) == next);
                let edge = edge.unwrap_or_default();
                let span = depends_on.get(edge).map(|(_, span)| *span);
                let kind = SpecErrorKind::DependencyCycle { ring: turned };
                let path = format!("spec.dependsOn[{edge}]");
                let error = SpecError::new(kind, path, span.unwrap_or_default());
                let error = error.hint("remove one of these dependencies");
                let subject = Subject::Agent(name.clone(), agent.name_span);
                self.refuse(agent.source, subject, error);
            }
        }
    }
}

fn subject(draft: &AgentDraft) -> Subject {
    Subject::Agent(draft.name.clone(), draft.name_span)
}

fn dependency_span(draft: &AgentDraft, index: usize) -> Span {
    draft
        .dependency_spans
        .get(index)
        .copied()
        .unwrap_or_default()
}

/// Adds the first other place (for the first, the second).
fn point_at_other(
    error: SpecError,
    places: &[(usize, Span)],
    index: usize,
    label: &'static str,
) -> SpecError {
    match places.get(usize::from(index == 0)) {
        Some(&(source, span)) => error.related(Some(source), span, label),
        None => error,
    }
}

/// Every agent that depends on itself through others, in rings: the shortest ring through the
/// first such agent by name, then the next among the remaining, and so on. An agent of several
/// rings is reported with one of them.
fn rings(agents: &BTreeMap<AgentName, Declared>) -> Vec<Vec<AgentName>> {
    let remaining = without_ends(agents);
    let mut reported: BTreeSet<&AgentName> = BTreeSet::new();
    let mut rings = Vec::new();
    for start in &remaining {
        if reported.contains(*start) {
            continue;
        }
        if let Some(ring) = shortest_ring(start, &remaining, agents) {
            reported.extend(ring.iter().copied());
            rings.push(ring.into_iter().cloned().collect());
        }
    }
    rings
}

fn dependencies<'a>(
    agents: &'a BTreeMap<AgentName, Declared>,
    name: &AgentName,
) -> impl Iterator<Item = &'a AgentName> {
    let declared = agents.get(name).map(|agent| &agent.depends_on);
    declared.into_iter().flatten().map(|(name, _)| name)
}

/// The agents that are left when those without dependency are taken away again and again: if
/// there is no circle, none.
fn without_ends(agents: &BTreeMap<AgentName, Declared>) -> BTreeSet<&AgentName> {
    let mut dependents: BTreeMap<&AgentName, Vec<&AgentName>> = BTreeMap::new();
    let mut open: BTreeMap<&AgentName, usize> = BTreeMap::new();
    for name in agents.keys() {
        let declared = dependencies(agents, name);
        let declared = declared.filter(|dependency| agents.contains_key(*dependency));
        let mut count = 0;
        for dependency in declared {
            dependents.entry(dependency).or_default().push(name);
            count += 1;
        }
        open.insert(name, count);
    }
    let free = open.iter().filter(|(_, count)| **count == 0);
    let mut queue: VecDeque<&AgentName> = free.map(|(name, _)| *name).collect();
    while let Some(name) = queue.pop_front() {
        open.remove(name);
        for dependent in dependents.remove(name).unwrap_or_default() {
            if let Some(count) = open.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    queue.push_back(dependent);
                }
            }
        }
    }
    open.into_keys().collect()
}

/// Breadth first from `start` back to it.
fn shortest_ring<'a>(
    start: &'a AgentName,
    remaining: &BTreeSet<&'a AgentName>,
    agents: &'a BTreeMap<AgentName, Declared>,
) -> Option<Vec<&'a AgentName>> {
    let mut came_from: BTreeMap<&AgentName, &AgentName> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(name) = queue.pop_front() {
        for next in dependencies(agents, name) {
            if next == start {
                return Some(path_back(start, name, &came_from));
            }
            if remaining.contains(next) && !came_from.contains_key(next) {
                came_from.insert(next, name);
                queue.push_back(next);
            }
        }
    }
    None
}

fn path_back<'a>(
    start: &'a AgentName,
    last: &'a AgentName,
    came_from: &BTreeMap<&'a AgentName, &'a AgentName>,
) -> Vec<&'a AgentName> {
    let mut ring = vec![last];
    let mut name = last;
    while name != start {
        let Some(earlier) = came_from.get(name) else {
            break;
        };
        name = earlier;
        ring.push(name);
    }
    ring.reverse();
    ring
}
