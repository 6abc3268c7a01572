//! Root certificates that are read again when their files change.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use hc_checkers::{Reload, SystemRoots};
use hc_testkit::certificate::Authority;

/// Runs the test of this name again, in a process of its own with these roots: the environment is
/// shared by all threads.
fn in_child(test: &str, variable: &str, path: &Path) -> bool {
    if std::env::var_os("HC_TEST_ROOTS").is_some() {
        return false;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSL_CERT_DIR")
        .env(variable, path)
        .env("HC_TEST_ROOTS", path.parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    true
}

fn directory() -> std::path::PathBuf {
    std::env::var_os("HC_TEST_ROOTS").unwrap().into()
}

fn pems(count: usize) -> Vec<String> {
    (0..count).map(|n| Authority::new(&format!("root {n}"), 2000, 2100).unwrap().pem()).collect()
}

#[track_caller]
fn replaced(reload: Reload, expected: usize) {
    let Reload::Replaced { count, problems } = reload else { panic!("{reload:?}") };
    assert_eq!(count, expected);
    assert!(problems.is_empty());
}

#[track_caller]
fn kept(reload: Reload) {
    assert!(matches!(reload, Reload::Kept(_)), "{reload:?}");
}

#[track_caller]
fn unchanged(reload: Reload) {
    assert!(matches!(reload, Reload::Unchanged), "{reload:?}");
}

/// A change counts when two looks have seen the same.
#[track_caller]
fn twice(system: &mut SystemRoots) -> Reload {
    unchanged(system.reload());
    system.reload()
}

#[test]
fn a_root_file_is_read_again_when_it_changes() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("roots.pem");
    let certificates = pems(3);
    fs::write(&file, &certificates[0]).unwrap();
    if in_child("a_root_file_is_read_again_when_it_changes", "SSL_CERT_FILE", &file) {
        return;
    }
    let (home, certificates) = (directory(), pems(4));
    let file = home.join("roots.pem");
    let (mut system, problems) = SystemRoots::load();
    let roots = system.roots();
    assert!(problems.is_empty());
    assert_eq!(roots.len(), 1);
    unchanged(twice(&mut system));
    // In place.
    fs::write(&file, certificates[..2].concat()).unwrap();
    replaced(twice(&mut system), 2);
    assert_eq!(roots.len(), 2, "a clone follows");
    // By a rename.
    fs::write(home.join("new"), certificates[..3].concat()).unwrap();
    fs::rename(home.join("new"), &file).unwrap();
    replaced(twice(&mut system), 3);
    // The same again is no change.
    fs::write(&file, certificates[..3].concat()).unwrap();
    unchanged(twice(&mut system));
    // Emptied, broken, cut short, gone: told once, and nothing changes.
    let half = &certificates[0][..certificates[0].len() / 2];
    for bad in ["", "no certificate", half] {
        fs::write(&file, bad).unwrap();
        kept(twice(&mut system));
        unchanged(twice(&mut system));
        assert_eq!(roots.len(), 3);
    }
    fs::remove_file(&file).unwrap();
    kept(twice(&mut system));
    unchanged(twice(&mut system));
    assert_eq!(roots.len(), 3);
    // Back.
    fs::write(&file, &certificates[3]).unwrap();
    replaced(twice(&mut system), 1);
}

#[test]
fn links_to_root_files_are_followed() {
    let home = tempfile::tempdir().unwrap();
    let link = home.path().join("roots.pem");
    if in_child("links_to_root_files_are_followed", "SSL_CERT_FILE", &link) {
        return;
    }
    // As Kubernetes does: roots.pem -> ..data/roots.pem, ..data -> ..1.
    let (home, certificates) = (directory(), pems(3));
    for (n, count) in [(1, 1), (2, 2)] {
        fs::create_dir(home.join(format!("..{n}"))).unwrap();
        fs::write(home.join(format!("..{n}/roots.pem")), certificates[..count].concat()).unwrap();
    }
    symlink("..1", home.join("..data")).unwrap();
    symlink("..data/roots.pem", home.join("roots.pem")).unwrap();
    let (mut system, _) = SystemRoots::load();
    assert_eq!(system.roots().len(), 1);
    let reach = system.reach();
    for needed in [home.clone(), home.join("..1")] {
        let needed = fs::canonicalize(needed).unwrap();
        assert!(reach.contains(&needed), "{needed:?} is not in {reach:?}");
    }
    symlink("..2", home.join("..next")).unwrap();
    fs::rename(home.join("..next"), home.join("..data")).unwrap();
    replaced(twice(&mut system), 2);
}

#[test]
fn a_directory_of_roots_is_read_again_when_it_changes() {
    let home = tempfile::tempdir().unwrap();
    let certs = home.path().join("certs");
    fs::create_dir(&certs).unwrap();
    if in_child("a_directory_of_roots_is_read_again_when_it_changes", "SSL_CERT_DIR", &certs) {
        return;
    }
    let (certs, certificates) = (directory().join("certs"), pems(3));
    let (mut system, _) = SystemRoots::load();
    assert!(system.roots().is_empty());
    for (n, certificate) in certificates.iter().enumerate() {
        // As `openssl rehash` names them.
        fs::write(certs.join(format!("0000000{n}.0")), certificate).unwrap();
        replaced(twice(&mut system), n + 1);
    }
    fs::remove_file(certs.join("00000001.0")).unwrap();
    replaced(twice(&mut system), 2);
}

#[test]
fn a_root_file_that_is_written_in_pieces_is_read_when_it_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("roots.pem");
    let certificates = pems(3);
    fs::write(&file, certificates.concat()).unwrap();
    if in_child("a_root_file_that_is_written_in_pieces_is_read_when_it_is_whole", "SSL_CERT_FILE", &file) {
        return;
    }
    let file = directory().join("roots.pem");
    let (mut system, _) = SystemRoots::load();
    let roots = system.roots();
    assert_eq!(roots.len(), 3);
    let certificates = pems(5);
    for count in 1..=5 {
        fs::write(&file, certificates[..count].concat()).unwrap();
        unchanged(system.reload());
        assert_eq!(roots.len(), 3);
    }
    replaced(system.reload(), 5);
    // Back as it was between two looks: nothing is left of the first.
    fs::write(&file, &certificates[0]).unwrap();
    unchanged(system.reload());
    fs::write(&file, certificates[..2].concat()).unwrap();
    replaced(twice(&mut system), 2);
}

#[test]
fn a_bad_certificate_does_not_keep_the_roots_from_changing() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("roots.pem");
    fs::write(&file, pems(1).concat()).unwrap();
    if in_child("a_bad_certificate_does_not_keep_the_roots_from_changing", "SSL_CERT_FILE", &file) {
        return;
    }
    let file = directory().join("roots.pem");
    let (mut system, _) = SystemRoots::load();
    let certificates = pems(3);
    let bad = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (bad, count) in [(bad, 2), (malformed, 3)] {
        fs::write(&file, [&certificates[..count].concat(), bad].concat()).unwrap();
        let reload = twice(&mut system);
        let Reload::Replaced { count: used, problems } = reload else { panic!("{reload:?}") };
        assert_eq!((used, problems.len()), (count, 1));
        unchanged(twice(&mut system));
    }
    // Nothing but that: the old ones stay.
    fs::write(&file, bad).unwrap();
    kept(twice(&mut system));
    assert_eq!(system.roots().len(), 3);
}

#[test]
fn a_missing_directory_beside_a_good_root_file_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("roots.pem");
    fs::write(&file, pems(1).concat()).unwrap();
    // The variable of the directory is set by the child itself: `in_child` sets one.
    if std::env::var_os("HC_TEST_ROOTS").is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_missing_directory_beside_a_good_root_file_changes_nothing"])
            .env("SSL_CERT_FILE", &file)
            .env("SSL_CERT_DIR", home.path().join("missing"))
            .env("HC_TEST_ROOTS", home.path())
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let file = directory().join("roots.pem");
    let (mut system, problems) = SystemRoots::load();
    assert_eq!((system.roots().len(), problems.len()), (1, 1));
    fs::write(&file, pems(2).concat()).unwrap();
    let reload = twice(&mut system);
    let Reload::Replaced { count: 2, problems } = reload else { panic!("{reload:?}") };
    assert_eq!(problems.len(), 1);
    // The file gone: the roots stay, and it is told.
    fs::remove_file(&file).unwrap();
    kept(twice(&mut system));
    assert_eq!(system.roots().len(), 2);
}

#[test]
fn only_what_links_need_stays_in_reach() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("ssl/certs/roots.pem");
    fs::create_dir_all(home.path().join("ssl/certs")).unwrap();
    fs::create_dir_all(home.path().join("ssl/private")).unwrap();
    fs::write(&file, pems(1).concat()).unwrap();
    if std::env::var_os("HC_TEST_ROOTS").is_none() {
        in_child("only_what_links_need_stays_in_reach", "SSL_CERT_DIR", &home.path().join("ssl/certs"));
        in_child("only_what_links_need_stays_in_reach", "SSL_CERT_FILE", &file);
        return;
    }
    let certs = std::env::var_os("SSL_CERT_DIR").map_or_else(directory, Into::into);
    let ssl = certs.parent().unwrap();
    let (mut system, _) = SystemRoots::load();
    assert_eq!(system.reach(), std::slice::from_ref(&certs));
    // The directory of a directory of certificates is not needed either.
    if std::env::var_os("SSL_CERT_DIR").is_some() {
        return;
    }
    // A file that is replaced in its own directory.
    fs::write(certs.join("new"), pems(2).concat()).unwrap();
    fs::rename(certs.join("new"), certs.join("roots.pem")).unwrap();
    replaced(twice(&mut system), 2);
    // A link to another directory does not open the one above both; a link of directories opens
    // that in which it is.
    fs::create_dir_all(ssl.join("store/2026")).unwrap();
    fs::rename(certs.join("roots.pem"), ssl.join("store/2026/roots.pem")).unwrap();
    symlink("2026", ssl.join("store/current")).unwrap();
    symlink(ssl.join("store/current/roots.pem"), certs.join("roots.pem")).unwrap();
    let reach = system.reach();
    for needed in [&certs, &ssl.join("store"), &ssl.join("store/2026")] {
        assert!(reach.contains(needed), "{needed:?} is not in {reach:?}");
    }
    assert!(!reach.iter().any(|path| path == ssl), "{reach:?}");
}
