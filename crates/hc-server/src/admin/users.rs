//! Names of users, for people who read who did something.

use std::collections::HashMap;
use std::path::Path;

/// The users that the machine itself knows, read before the sandbox keeps this process out of that
/// file.
#[derive(Debug, Default)]
pub(crate) struct Users(HashMap<u32, Box<str>>);

impl Users {
    /// Those of `/etc/passwd`; none if it cannot be read. Of users that only a directory service
    /// knows there is the number.
    pub(crate) fn read() -> Self {
        Self::parse(&std::fs::read(Path::new("/etc/passwd")).unwrap_or_default())
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some((uid, name.into()))
        };
        // Of several names for one number the first counts, as for getpwuid(3).
        Self(text.lines().rev().filter_map(user).collect())
    }

    pub(crate) fn name(&self, uid: u32) -> Option<Box<str>> {
        self.0.get(&uid).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_number() {
        let users = Users::parse(
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n\n:x:1\nbad\nann:x:1000:1::/:/bin/sh",
        );
        assert_eq!(users.name(0).as_deref(), Some("root"));
        assert_eq!(users.name(1000).as_deref(), Some("ann"));
        assert_eq!((users.name(1), users.name(7)), (None, None));
    }
}
