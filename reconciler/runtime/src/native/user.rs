//! Whom an agent runs as.

use std::{ffi::CString, io, sync::OnceLock};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use osmoda_core::spec::AgentSpec;

use super::sys::spawn::Identity;
use crate::StartError;

/// The user of an agent: its name for $USER, and whom to become if not the daemon's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentUser {
    pub name: String,
    pub change: Option<Identity>,
}

/// Looks up the spec's user and group in the system's databases (NSS), by name or number.
///
/// # Errors
/// [`StartError::Invalid`]: there is no such user or group, or changing to it takes root.
pub(crate) fn resolve(spec: &AgentSpec) -> Result<AgentUser, StartError> {
    let own = Uid::effective();
    let user = match &spec.user {
        Some(name) => find_user(name)?,
        None => None,
    };
    let name = match &user {
        Some(user) => user.name.clone(),
        None => own_name(own)?,
    };
    if spec.user.is_none() && spec.group.is_none() {
        return Ok(AgentUser { name, change: None });
    }
    let uid = user.as_ref().map_or(own, |user| user.uid);
    let gid = match (&spec.group, &user) {
        (Some(group), _) => find_group(group)?,
        (None, Some(user)) => user.gid,
        (None, None) => Gid::effective(),
    };
    if uid == own && gid == Gid::effective() && !own.is_root() {
        return Ok(AgentUser { name, change: None });
    }
    if !own.is_root() {
        return Err(StartError::Invalid {
            what: format!(
                "cannot run as user {name}, group {gid}: only root may change the user; run the \
                 daemon as root, or leave out user and group"
            ),
            source: io::ErrorKind::PermissionDenied.into(),
        });
    }
    let change = Some(Identity {
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        groups: supplementary_groups(&name, gid)?,
    });
    Ok(AgentUser { name, change })
}

/// The name of the daemon's own user. Looked up once: a daemon does not become somebody else, and
/// the look-up reads files at every start of every agent.
fn own_name(own: Uid) -> Result<String, StartError> {
    static NAME: OnceLock<String> = OnceLock::new();
    if let Some(name) = NAME.get() {
        return Ok(name.clone());
    }
    let user = User::from_uid(own).map_err(|errno| lookup_failed("the daemon's user", errno))?;
    let name = user.map_or_else(|| own.to_string(), |user| user.name);
    Ok(NAME.get_or_init(|| name).clone())
}

fn find_user(name: &str) -> Result<Option<User>, StartError> {
    let by_name = User::from_name(name).map_err(|errno| lookup_failed(name, errno))?;
    let found = match (by_name, name.parse()) {
        (None, Ok(number)) => {
            User::from_uid(Uid::from_raw(number)).map_err(|errno| lookup_failed(name, errno))?
        }
        (by_name, _) => by_name,
    };
    match found {
        Some(user) => Ok(Some(user)),
        None => Err(unknown("user", name)),
    }
}

fn find_group(name: &str) -> Result<Gid, StartError> {
    let by_name = Group::from_name(name).map_err(|errno| lookup_failed(name, errno))?;
    match (by_name, name.parse()) {
        (Some(group), _) => Ok(group.gid),
        (None, Ok(number)) => Ok(Gid::from_raw(number)),
        (None, Err(_)) => Err(unknown("group", name)),
    }
}

fn supplementary_groups(user: &str, gid: Gid) -> Result<Vec<u32>, StartError> {
    let text = CString::new(user).map_err(|_| unknown("user", user))?;
    let groups = getgrouplist(&text, gid).map_err(|errno| lookup_failed(user, errno))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

fn unknown(kind: &str, name: &str) -> StartError {
    StartError::Invalid {
        what: format!("there is no {kind} {name:?} on this system"),
        source: io::ErrorKind::NotFound.into(),
    }
}

fn lookup_failed(name: &str, errno: nix::errno::Errno) -> StartError {
    StartError::System {
        what: format!("cannot look up {name} in the user database"),
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(user: Option<&str>, group: Option<&str>) -> AgentSpec {
        let mut spec = AgentSpec::new(vec!["/bin/true".to_owned()]);
        spec.user = user.map(str::to_owned);
        spec.group = group.map(str::to_owned);
        spec
    }

    #[test]
    fn without_a_user_the_daemons_own_is_kept() {
        assert_eq!(resolve(&spec(None, None)).unwrap().change, None);
    }

    #[test]
    fn an_unknown_user_or_group_is_named() {
        let user = resolve(&spec(Some("no-such-user"), None)).unwrap_err();
        assert_eq!(
            user.to_string(),
            "there is no user \"no-such-user\" on this system"
        );
        let group = resolve(&spec(None, Some("no-such-group"))).unwrap_err();
        assert_eq!(
            group.to_string(),
            "there is no group \"no-such-group\" on this system"
        );
    }

    #[test]
    fn another_user_needs_root() {
        let resolved = resolve(&spec(Some("nobody"), None));
        if Uid::effective().is_root() {
            let user = resolved.unwrap();
            assert_eq!(user.name, "nobody");
            assert_ne!(user.change.unwrap().uid, 0);
        } else {
            let error = resolved.unwrap_err().to_string();
            assert!(error.contains("run the daemon as root"), "{error}");
        }
    }
}
