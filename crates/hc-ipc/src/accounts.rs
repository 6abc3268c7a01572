//! Names of users and groups.

use nix::unistd::{Group, User};

/// Why a user or a group is not known.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is none of that name.
    #[error("there is no {kind} {name:?}")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The system's list cannot be read.
    #[error("cannot look up {kind} {name:?}: {source}")]
    Lookup {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The number of a user, from its name or from the number itself.
pub(crate) fn user(name: &str) -> Result<u32, AccountError> {
    match found("user", name, User::from_name(name)) {
        Err(AccountError::Unknown { .. }) if let Ok(number) = name.parse() => Ok(number),
        user => user.map(|user| user.uid.as_raw()),
    }
}

/// The number of a group, from its name or from the number itself, and the users that it lists as
/// members.
pub(crate) fn group(name: &str) -> Result<(u32, Vec<u32>), AccountError> {
    let group = match found("group", name, Group::from_name(name)) {
        Err(AccountError::Unknown { .. }) if let Ok(number) = name.parse() => {
            match found("group", name, Group::from_gid(nix::unistd::Gid::from_raw(number))) {
                // A group need not have a name.
                Err(AccountError::Unknown { .. }) => return Ok((number, Vec::new())),
                group => group?,
            }
        }
        group => group?,
    };
    // A member that is no user (any more) cannot connect.
    let members = group.mem.iter().filter_map(|name| user(name).ok()).collect();
    Ok((group.gid.as_raw(), members))
}

/// The user that this process acts as.
pub(crate) fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn found<T>(kind: &'static str, name: &str, answer: nix::Result<Option<T>>) -> Result<T, AccountError> {
    match answer {
        Ok(Some(account)) => Ok(account),
        Ok(None) => Err(AccountError::Unknown { kind, name: name.to_owned() }),
        Err(errno) => Err(AccountError::Lookup { kind, name: name.to_owned(), source: errno.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(user("root").unwrap(), 0);
        assert_eq!(user("54321").unwrap(), 54321);
        assert_eq!(group("root").unwrap().0, 0);
        assert_eq!(group("54321").unwrap(), (54321, Vec::new()));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_it() {
        assert_eq!(user("no-such-user").unwrap_err().to_string(), "there is no user \"no-such-user\"");
        assert_eq!(group("no-such-group").unwrap_err().to_string(), "there is no group \"no-such-group\"");
    }
}
