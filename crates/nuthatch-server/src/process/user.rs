//! Giving up root (`-u`).

use std::ffi::CString;

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, User, geteuid, getgid, getuid, initgroups, setgid, setuid},
};

use super::ProcessError;

/// Who serves when root names nobody: the user that has no rights anywhere.
const USER_DEFAULT: &str = "nobody";

/// Becomes the user that `-u` names, when started as root; otherwise changes nothing, as in
/// memcached.
///
/// Root without `-u` becomes `nobody`, and the warning says so. memcached refuses to start then;
/// a first start should not end with a lesson, and serving as root has to be asked for
/// (`-u root`).
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
/// [`ProcessError::RootWithoutUser`] where there is no `nobody`, [`ProcessError::NoSuchUser`], or [`ProcessError::System`]
/// when an id cannot be assumed: the process must then not go on.
pub fn switch(user: Option<&str>) -> Result<Option<String>, ProcessError> {
    if !getuid().is_root() && !geteuid().is_root() {
        return Ok(None);
    }
    let Some(name) = user.filter(|name| !name.is_empty()) else {
        let account = find(USER_DEFAULT).map_err(|_| ProcessError::RootWithoutUser)?;
        let before = getgid();
        return match become_user(USER_DEFAULT, &account) {
            Ok(None) => Ok(Some(format!("started as root without -u; serving as {USER_DEFAULT}"))),
            Ok(warning) => Ok(warning),
            // Where not even the group can be changed (a user namespace with one user), this root
            // is no root, and there is nobody else to be.
            Err(error) if getgid() == before => {
                Ok(Some(format!("started as root without -u; serving as root, because: {error}")))
            }
            Err(error) => Err(error),
        };
    };
    let account = find(name)?;
    if already(account.uid, account.gid) {
        return Ok(None);
    }
    become_user(name, &account)
}

/// Takes on a user's groups and ids; gives a warning where the groups could not be changed.
fn become_user(name: &str, account: &User) -> Result<Option<String>, ProcessError> {
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
    fn root_may_stay_root_if_it_says_so() {
        // That root without `-u` becomes nobody is tested with the program: a test cannot go back.
        if geteuid().is_root() {
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
