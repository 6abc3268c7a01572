//! Files of checks.

use std::collections::HashSet;

use hc_config::{Limits, NoFiles, SourceFile, check_id, parse, print};

/// A TOML file of checks: errors have words and places; names and ids of checks differ, their
/// number is within the limit, and the checks are written and read again as the same.
pub fn checks_toml(data: &[u8]) {
    read("checks.toml", data);
}

/// A `cluster.pb` of Seesaw: the same, and without metadata it is refused, since it may have been
/// cut off.
pub fn cluster_pb(data: &[u8]) {
    let read = read("cluster.pb", data);
    let has_metadata = data.windows(8).any(|word| word == b"metadata");
    assert!(has_metadata || !read, "a file that may have been cut off is taken");
}

/// Whether the file was taken.
fn read(name: &str, data: &[u8]) -> bool {
    const TOTAL: usize = 2000;
    let limits = Limits::new(1000, TOTAL);
    let read = match parse(&[SourceFile::new(name, data)], &limits, &NoFiles) {
        Ok(read) => read,
        Err(errors) => {
            assert!(!errors.diagnostics().is_empty());
            for diagnostic in errors.diagnostics() {
                assert!(!diagnostic.problem.is_empty() && diagnostic.place.is_some());
                assert!(!diagnostic.to_string().contains('\n'), "an error is one line: {diagnostic}");
            }
            return false;
        }
    };
    assert!(read.checks.len() <= TOTAL);
    let ids: HashSet<u64> = read.checks.iter().map(|check| check.id.0).collect();
    assert_eq!(ids.len(), read.checks.len());
    assert!(read.checks.iter().all(|check| check.id == check_id(&check.name)));
    // A `cluster.pb` may hold what a TOML file cannot say.
    if let Ok(printed) = print(&read) {
        match parse(&[SourceFile::new("printed.toml", &*printed)], &limits, &NoFiles) {
            Ok(again) => {
                assert_eq!((&again.checks, &again.hosts), (&read.checks, &read.hosts));
            }
            Err(errors) => panic!("what was written is refused: {errors}"),
        }
    }
    true
}
