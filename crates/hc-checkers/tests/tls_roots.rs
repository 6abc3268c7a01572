//! Root certificates that are read again when their files change.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use hc_checkers::{Reload, SystemRoots};
use hc_testkit::certificate::Authority;

/// Runs the test of this name again, in a process of its own with these roots: the environment is shared by all threads.
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
    unchanged(system.reload());
    // In place.
    fs::write(&file, certificates[..2].concat()).unwrap();
    replaced(system.reload(), 2);
    assert_eq!(roots.len(), 2, "a clone follows");
    // By a rename.
    fs::write(home.join("new"), certificates[..3].concat()).unwrap();
    fs::rename(home.join("new"), &file).unwrap();
    replaced(system.reload(), 3);
    // The same again is no change.
    fs::write(&file, certificates[..3].concat()).unwrap();
    unchanged(system.reload());
    // Emptied, broken, cut short, gone: told once, and nothing changes.
    let half = &certificates[0][..certificates[0].len() / 2];
    for bad in ["", "no certificate", half] {
        fs::write(&file, bad).unwrap();
        kept(system.reload());
        unchanged(system.reload());
        assert_eq!(roots.len(), 3);
    }
    fs::remove_file(&file).unwrap();
    kept(system.reload());
    unchanged(system.reload());
    assert_eq!(roots.len(), 3);
    // Back.
    fs::write(&file, &certificates[3]).unwrap();
    replaced(system.reload(), 1);
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
    replaced(system.reload(), 2);
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
        replaced(system.reload(), n + 1);
    }
    fs::remove_file(certs.join("00000001.0")).unwrap();
    replaced(system.reload(), 2);
}
