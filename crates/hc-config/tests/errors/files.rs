//! Files and their limits.

use super::*;

#[test]
fn ranges_beyond_the_limits() {
    let check = |target: &str| format!("[[check]]\nname = 'a'\nicmp = {{}}\ntarget = {target}\n");
    wrong(
        &check("'10.0.0.0/12'"),
        &["f:4:10: check.target: stands for 1048574 addresses; a range has at most 65536"],
    );
    wrong(
        &check("'::/0'"),
        &[
            "f:4:10: check.target: stands for 340282366920938463463374607431768211455 addresses; a range has at most 65536",
        ],
    );
    wrong(
        &check("['10.0.0.0/16', '10.1.0.0/16']"),
        &["f:4:26: check.target: with this there are more than 100000 checks in all"],
    );
    wrong_check(
        "tcp = {}\nport = ['1-65535', '1-65535']",
        &["f:3:10: check.target: with this there are more than 100000 checks in all"],
    );
    wrong_check(
        "icmp = {}\nexclude = 'a.example'",
        &["f:5:11: check.exclude: \"a.example\" is a host name; name its addresses"],
    );
    wrong_check("icmp = {}\nexclude = '192.0.2.0/24'", &["f:3:10: check.target: no target is left"]);
}

#[test]
fn names_cannot_forge_lines() {
    wrong("\"a\\nb\" = 1\n", &["f:1:1: \"a\\nb\": is not a key of this table"]);
}

#[test]
fn files_are_found_by_globs_and_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let check = |name: &str| format!("[[check]]\nname = '{name}'\ntarget = '192.0.2.1'\nicmp = {{}}\n");
    for (file, name) in [("b.toml", "b"), ("a.toml", "a"), ("c.conf", "c")] {
        std::fs::write(dir.path().join(file), check(name)).unwrap();
    }
    std::fs::create_dir(dir.path().join("d.toml")).unwrap();
    let globs = [format!("{path}/*.toml"), format!("{path}/a.toml"), format!("{path}/c*")];
    let read = load(&globs.each_ref().map(String::as_str), &Limits::default()).unwrap();
    let names: Vec<&str> = read.checks.iter().map(|check| &*check.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let errors = load(&[&format!("{path}/*.toml"), "[", path], &Limits::default()).unwrap_err().to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines[0], format!("{:?} matches no file", format!("{path}/*.toml")));
    assert!(lines[1].starts_with("\"[\" is not a glob: "), "{errors}");
    assert_eq!(lines[2], format!("cannot read {path}: is a directory"));

    std::fs::create_dir(dir.path().join("secret")).unwrap();
    let text =
        "[[check]]\nname = 'a'\ntarget = '192.0.2.1'\nradius = { username = 'u', secret_file = 'secret' }\n";
    std::fs::write(dir.path().join("a.toml"), text).unwrap();
    let errors = load(&[&format!("{path}/*")], &Limits::default()).unwrap_err().to_string();
    assert!(errors.ends_with("secret: is a directory"), "{errors}");
    assert!(
        errors.starts_with(&format!("{path}/a.toml:4:42: check.radius.secret_file: cannot read ")),
        "{errors}"
    );
}
