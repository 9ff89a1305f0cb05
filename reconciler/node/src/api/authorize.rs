//! Who may do what: reading is for the socket's group, acting for root, the daemon's own user and
//! the configured operators, and never for a process inside an agent's tree.
//!
//! The kernel keeps everybody else out, by the mode of the socket; [`Authorizer::may_read`] asks
//! again, since a mode can be changed by hand. A caller that has ended by the time it acts is
//! refused: nobody could tell any more whether it belonged to an agent.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use osmoda_core::spec::Operators;

use super::caller::Caller;

/// Whether a process belongs to an agent's tree.
pub type InAgentTree = Arc<dyn Fn(u32) -> bool + Send + Sync>;

/// Decides who may read and who may act.
#[derive(Clone)]
pub struct Authorizer {
    daemon_uid: u32,
    operators: Arc<RwLock<OperatorIds>>,
    in_agent_tree: InAgentTree,
}

#[derive(Debug, Default)]
struct OperatorIds {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
}

/// Why a caller may not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("you may look, but not act")]
    NotAnOperator,
    #[error("a process of an agent may not act on agents")]
    InsideAgent,
    #[error("the process that connected has ended, so it cannot be told who asks")]
    CallerEnded,
}

impl Authorizer {
    /// Lets root and `daemon_uid` act, and nobody else yet.
    pub fn new(daemon_uid: u32, in_agent_tree: InAgentTree) -> Self {
        Self {
            daemon_uid,
            operators: Arc::default(),
            in_agent_tree,
        }
    }

    /// Takes over the operators of new specs, for all clones. Gives the names that this machine
    /// does not know; nobody acts by them.
    ///
    /// Looks names up through NSS, which may block.
    pub fn set_operators(&self, operators: &Operators) -> Vec<String> {
        let mut unknown = Vec::new();
        let mut ids = OperatorIds::default();
        for name in &operators.users {
            match nix::unistd::User::from_name(name) {
                Ok(Some(user)) => _ = ids.users.insert(user.uid.as_raw()),
                _ => unknown.push(format!("user {name}")),
            }
        }
        for name in &operators.groups {
            match nix::unistd::Group::from_name(name) {
                Ok(Some(group)) => _ = ids.groups.insert(group.gid.as_raw()),
                _ => unknown.push(format!("group {name}")),
            }
        }
        *self
            .operators
            .write()
            .unwrap_or_else(PoisonError::into_inner) = ids;
        unknown
    }

    /// Whether the caller may look: the daemon's user, root, operators, and members of
    /// `socket_group`.
    pub fn may_read(&self, caller: &Caller, socket_group: u32) -> bool {
        let member = caller.gid == socket_group || caller.groups.contains(&socket_group);
        member || self.is_trusted(caller)
    }

    /// Whether the caller may act, now.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn may_act(&self, caller: &Caller) -> Result<(), Refusal> {
        if !self.is_trusted(caller) {
            return Err(Refusal::NotAnOperator);
        }
        if !caller.is_still_there() {
            return Err(Refusal::CallerEnded);
        }
        let inside = (self.in_agent_tree)(caller.pid);
        // Asked again: had it ended meanwhile, the answer would have been about nobody.
        match (inside, caller.is_still_there()) {
            (true, _) => Err(Refusal::InsideAgent),
            (false, false) => Err(Refusal::CallerEnded),
            (false, true) => Ok(()),
        }
    }

    fn is_trusted(&self, caller: &Caller) -> bool {
        if caller.uid == 0 || caller.uid == self.daemon_uid {
            return true;
        }
        let ids = self
            .operators
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        ids.users.contains(&caller.uid)
            || ids.groups.contains(&caller.gid)
            || caller.groups.iter().any(|group| ids.groups.contains(group))
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer")
            .field("daemon_uid", &self.daemon_uid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET_GROUP: u32 = 900;
    const DAEMON: u32 = 500;

    fn authorizer(in_agent_tree: bool) -> Authorizer {
        Authorizer::new(DAEMON, Arc::new(move |_| in_agent_tree))
    }

    /// A caller with these ids whose process is this test's, so that it is there.
    fn caller(uid: u32, gid: u32, groups: &[u32]) -> Caller {
        let real = rustix::process::geteuid().as_raw();
        let mut caller = Caller::of(real, gid, std::process::id());
        (caller.uid, caller.groups) = (uid, groups.to_vec());
        caller
    }

    #[test]
    fn root_and_the_daemons_user_act_and_others_do_not() {
        let rules = authorizer(false);
        assert_eq!(rules.may_act(&caller(0, 7, &[])), Ok(()));
        assert_eq!(rules.may_act(&caller(DAEMON, 7, &[])), Ok(()));
        let member = caller(1000, 7, &[SOCKET_GROUP]);
        assert_eq!(rules.may_act(&member), Err(Refusal::NotAnOperator));
        assert!(rules.may_read(&member, SOCKET_GROUP));
        assert!(rules.may_read(&caller(1000, SOCKET_GROUP, &[]), SOCKET_GROUP));
        assert!(!rules.may_read(&caller(1000, 7, &[8]), SOCKET_GROUP));
    }

    #[test]
    fn operators_act_by_user_and_by_group_until_the_specs_change() {
        let rules = authorizer(false);
        let named = Operators {
            users: vec!["daemon".into()],
            groups: vec!["mail".into()],
        };
        assert_eq!(rules.clone().set_operators(&named), Vec::<String>::new());
        let daemon = nix::unistd::User::from_name("daemon")
            .unwrap()
            .unwrap()
            .uid
            .as_raw();
        let mail = nix::unistd::Group::from_name("mail")
            .unwrap()
            .unwrap()
            .gid
            .as_raw();
        for operator in [
            caller(daemon, 7, &[]),
            caller(77, mail, &[]),
            caller(77, 7, &[3, mail]),
        ] {
            assert_eq!(rules.may_act(&operator), Ok(()), "{operator:?}");
        }
        rules.set_operators(&Operators::default());
        assert_eq!(
            rules.may_act(&caller(daemon, 7, &[])),
            Err(Refusal::NotAnOperator)
        );
    }

    #[test]
    fn unknown_operators_are_named_and_give_nobody_a_right() {
        let named = Operators {
            users: vec!["nobody-here".into()],
            groups: vec!["nor-here".into()],
        };
        let unknown = authorizer(false).set_operators(&named);
        assert_eq!(unknown, ["user nobody-here", "group nor-here"]);
    }

    #[test]
    fn a_process_of_an_agent_never_acts_whoever_it_runs_as() {
        let rules = authorizer(true);
        assert_eq!(rules.may_act(&caller(0, 0, &[])), Err(Refusal::InsideAgent));
        assert_eq!(
            rules.may_act(&caller(DAEMON, 0, &[])),
            Err(Refusal::InsideAgent)
        );
    }

    #[test]
    fn a_caller_that_has_ended_never_acts() {
        let gone = Caller::of(0, 0, 0);
        assert_eq!(authorizer(false).may_act(&gone), Err(Refusal::CallerEnded));
    }
}
