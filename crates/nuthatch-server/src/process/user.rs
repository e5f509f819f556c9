//! Giving up root (`-u`).

use std::ffi::CString;

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, User, geteuid, getgid, getuid, initgroups, setgid, setuid},
};

use super::ProcessError;

/// Becomes the user that `-u` names, when started as root; otherwise changes nothing, as in
/// memcached.
///
/// The process gets the user's own supplementary groups and loses root's; memcached drops all of
/// them, which also keeps a user's membership in a group that owns a socket folder or a
/// certificate from working. Naming the user that the process already is (`-u root`) changes
/// nothing either.
///
/// Gives a warning where the groups could not be changed because the process may not (a container
/// without that right), which memcached does not take for an error either.
///
/// # Errors
///
/// [`ProcessError::RootWithoutUser`], [`ProcessError::NoSuchUser`], or [`ProcessError::System`]
/// when an id cannot be assumed: the process must then not go on.
pub fn switch(user: Option<&str>) -> Result<Option<String>, ProcessError> {
    if !getuid().is_root() && !geteuid().is_root() {
        return Ok(None);
    }
    let name = user.filter(|name| !name.is_empty()).ok_or(ProcessError::RootWithoutUser)?;
    let account = find(name)?;
    if already(account.uid, account.gid) {
        return Ok(None);
    }
    // A name that the user database knows has no NUL in it, or it could not have been looked up.
    let c_name = CString::new(name).map_err(|_| ProcessError::NoSuchUser(name.to_owned()))?;
    let warning = match initgroups(&c_name, account.gid) {
        Ok(()) => None,
        Err(Errno::EPERM) => {
            Some(format!("failed to drop supplementary groups: {}", Errno::EPERM.desc()))
        }
        Err(error) => {
            return Err(ProcessError::system("failed to drop supplementary groups", error));
        }
    };
    let step = || format!("failed to assume identity of user {name}");
    setgid(account.gid).map_err(|error| ProcessError::system(step(), error))?;
    setuid(account.uid).map_err(|error| ProcessError::system(step(), error))?;
    Ok(warning)
}

fn find(name: &str) -> Result<User, ProcessError> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        // The database answers "no such user" with several codes, so all of them mean that.
        Ok(None) | Err(_) => Err(ProcessError::NoSuchUser(name.to_owned())),
    }
}

fn already(uid: Uid, gid: Gid) -> bool {
    getuid() == uid && geteuid() == uid && getgid() == gid
}

#[cfg(test)]
mod tests {
    use super::super::exit;
    use super::*;

    #[test]
    fn root_must_say_whom_to_become() {
        if geteuid().is_root() {
            for user in [None, Some("")] {
                let error = switch(user).unwrap_err();
                assert_eq!(error.exit_code(), exit::USAGE);
                assert_eq!(error.to_string(), "must add '-u root' to start as root");
            }
            assert_eq!(switch(Some("root")).unwrap(), None);
        } else {
            assert_eq!(switch(None).unwrap(), None, "others need not");
        }
    }

    #[test]
    fn unknown_users_are_refused() {
        let error = find("no-such-user-here").unwrap_err();
        assert_eq!(error.exit_code(), exit::NO_USER);
        assert_eq!(error.to_string(), "can't find the user no-such-user-here to switch to");
    }
}
