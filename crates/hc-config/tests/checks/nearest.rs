//! Which of several values counts.

use super::*;

#[test]
fn the_nearest_value_wins() {
    let text = "
        [defaults]
        interval = '1s'
        timeout = '1s'
        retries = 1
        labels = { site = 'ams', a = 'defaults' }
        [defaults.http]
        method = 'HEAD'
        path = '/defaults'
        [template.base]
        timeout = '2s'
        labels = { a = 'base', b = 'base' }
        http = { path = '/base', expected_body = 'base' }
        [template.web]
        extends = 'base'
        labels = { b = 'web' }
        http.expected_body = 'web'
        [group.front]
        interval = '3s'
        timeout = '3s'
        extends = 'base'
        [[check]]
        name = 'a'
        target = '192.0.2.1'
        group = 'front'
        extends = 'web'
        [[check]]
        name = 'b'
        target = '192.0.2.1'
        group = 'front'
        port = 80
        tcp = {}
    ";
    let checks = read(text);
    let a = &checks[0];
    assert_eq!(a.spec.interval(), 3 * SECOND, "from the group, since no template says it");
    assert_eq!(a.spec.timeout(), 2 * SECOND, "the template of the check is nearer than the group");
    assert_eq!(a.spec.retries(), 1);
    let labels: Vec<(&str, &str)> = a.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(labels, [("a", "base"), ("b", "web"), ("group", "front"), ("site", "ams")]);
    let ProbeSpec::Http(http) = a.spec.probe() else { panic!("{:?}", a.spec) };
    assert_eq!((&*http.method, http.request_target.as_slice()), ("HEAD", &b"/base"[..]));
    assert_eq!(http.expected_body.as_slice(), b"web");
    assert_eq!(
        *checks[1].spec.probe(),
        ProbeSpec::Tcp(TcpProbe::default()),
        "its own kind is nearer than the group's"
    );
    assert_eq!(checks[1].spec.timeout(), 3 * SECOND);
}

#[test]
fn a_nearer_file_replaces_a_farther_secret() {
    let files: BTreeMap<PathBuf, Vec<u8>> = [(PathBuf::from("secret"), b"near".to_vec())].into();
    let text = "
        [template.radius.radius]
        username = 'u'
        secret = 'far'
        [[check]]
        name = 'a'
        target = '192.0.2.1'
        extends = 'radius'
        radius.secret_file = 'secret'
    ";
    let read = parse(&[SourceFile::new("checks.toml", text)], &Limits::default(), &files).unwrap();
    let ProbeSpec::Radius(radius) = read.checks[0].spec.probe() else { panic!("{:?}", read.checks[0]) };
    assert_eq!(radius.secret.expose(), b"near");
}

#[test]
fn a_nearer_secret_replaces_a_farther_file() {
    let text = "
        [template.radius.radius]
        username = 'u'
        secret_file = 'not read'
        [[check]]
        name = 'a'
        target = '192.0.2.1'
        extends = 'radius'
        radius.secret = 's'
    ";
    assert_eq!(read(text).len(), 1);
}

#[test]
fn templates_and_groups_are_known_in_all_files_and_defaults_are_not() {
    let file = |name: &str, text: &str| SourceFile::new(name, text);
    let files = [
        file("a.toml", "[[check]]\nname = 'a'\ntarget = '192.0.2.1'\nextends = 't'\ngroup = 'g'\n"),
        file("b.toml", "[defaults]\nretries = 9\n[template.t]\nicmp = {}\n[group.g]\ninterval = '1s'\n"),
    ];
    let checks = parse(&files, &Limits::default(), &NoFiles).unwrap().checks;
    assert_eq!((checks[0].spec.retries(), checks[0].spec.interval()), (0, SECOND));
}
