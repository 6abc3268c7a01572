use super::*;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hc-server.toml");
    std::fs::write(&path, text).unwrap();
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::load(Some(&path), variables)
}

#[track_caller]
fn rejected(text: &str, variables: &[(&str, &str)], words: &[&str]) {
    let error = load(text, variables).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(load("", &[]).unwrap(), Config::default());
}

#[test]
fn every_key_reads() {
    let text = r#"
        [source]
        kind = "file"
        files = ["/etc/hc/*.toml"]
        directories = ["/etc/hc-secrets"]
        watch = true
        max_range = 256
        max_checks = 1000
        dns_servers = ["192.0.2.53:53"]
        dns_min_age = "1s"
        dns_max_age = "1m"
        dns_retry = "2s"
        [socket]
        path = "/run/x.sock"
        mode = "0600"
        user = "root"
        group = "seesaw"
        allowed_users = ["seesaw"]
        allowed_groups = ["seesaw"]
        [notify]
        batch_delay = "50ms"
        batch_size = 10
        interval = "5s"
        [checks]
        shards = 2
        pin_shards = true
        max_in_flight = 100
        close = "graceful"
        first_probes_per_second = 10
        probe_memory = "16 MiB"
        remember = "1m"
        hold_unreachable = "30s"
        [guard]
        enabled = true
        share = 0.7
        window = "1s"
        min_group = 10
        groups = ["all", "subnet", "check_type"]
        subnet_v4 = 32
        subnet_v6 = 128
        sample = 4
        rounds = 2
        round_pause = "500ms"
        max_hold = "1m"
        [log]
        format = "json"
        level = "warn,hc_manager=debug"
        [state]
        dir = "/tmp/state"
        interval = "1s"
        max_age = "1m"
        [shutdown]
        grace = "1s"
    "#;
    let config = load(text, &[]).unwrap();
    let source = &config.source;
    assert_eq!((source.kind, source.watch, source.max_range.get()), (SourceKind::File, true, 256));
    assert_eq!(config.socket.mode, 0o600);
    assert_eq!(config.notify.interval, Duration::from_secs(5));
    assert_eq!(config.checks.close, CloseConfig::Graceful);
    assert_eq!(config.checks.probe_memory, 16 << 20);
    assert_eq!(config.guard.groups, [GroupConfig::All, GroupConfig::Subnet, GroupConfig::CheckType]);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn errors_name_file_line_and_key() {
    rejected("[notify]\n\nbatch_sise = 5\n", &[], &["hc-server.toml", "line 3", "batch_sise"]);
    rejected("[notify]\nbatch_size = 0\n", &[], &["hc-server.toml", "line 2", "batch_size"]);
    rejected("[notify]\nbatch_size = 10001\n", &[], &["line 2", "batch_size", "at most 10000"]);
    rejected("[notify]\ninterval = \"0s\"\n", &[], &["line 2", "interval", "must be above 0"]);
    rejected("[socket]\nmode = \"rw\"\n", &[], &["line 2", "mode", "is not a file mode"]);
    rejected("[log]\nlevel = \"loud\"\n", &[], &["line 2", "level", "is not a log level"]);
    rejected("[log]\nlevel = \"\"\n", &[], &["line 2", "level", "\"\" is not a log level"]);
    rejected("[log]\nlevel = \"info,hc_manager=\"\n", &[], &["line 2", "level", "is not a log level"]);
    rejected("[checks]\nclose = \"slam\"\n", &[], &["line 2", "close", "slam"]);
    rejected("[checks]\nprobe_memory = \"1000KiB\"\n", &[], &["line 2", "probe_memory", "at least"]);
    rejected("[checks]\nprobe_memory = \"lots\"\n", &[], &["line 2", "probe_memory", "is not a size"]);
    rejected("[checks]\nprobe_memory = \"+64MiB\"\n", &[], &["line 2", "is not a size"]);
    rejected("[guard]\nshare = 1.0\n", &[], &["line 2", "share", "above 0 and below 1"]);
    rejected("[guard]\nshare = nan\n", &[], &["line 2", "share", "above 0 and below 1"]);
    rejected("[guard]\ngroups = []\n", &[], &["line 2", "groups", "must not be empty"]);
    rejected("[guard]\ngroups = [\"rack\"]\n", &[], &["line 2", "groups", "rack"]);
    rejected("[guard]\nsubnet_v4 = 33\n", &[], &["line 2", "subnet_v4", "at most 32"]);
    rejected("[guard]\nsubnet_v6 = 129\n", &[], &["line 2", "subnet_v6", "at most 128"]);
    rejected("[source]\nkind = \"etcd\"\n", &[], &["line 2", "kind", "etcd"]);
    rejected("[source]\nmax_range = 0\n", &[], &["line 2", "max_range", "nonzero"]);
    rejected("[source]\ndns_servers = [\"192.0.2.53\"]\n", &[], &["line 2", "dns_servers", "socket address"]);
    rejected("[source]\ndns_retry = \"0s\"\n", &[], &["line 2", "dns_retry", "above 0"]);
    rejected("nonsense", &[], &["hc-server.toml", "line 1"]);
}

#[test]
fn a_file_named_by_hand_must_exist() {
    let error = Config::load(Some(Path::new("/nonexistent/hc.toml")), std::iter::empty()).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/hc.toml: "), "{error}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = load(
        "[notify]\nbatch_size = 5\ninterval = \"9s\"\n",
        &[
            ("HC_SERVER_NOTIFY_BATCH_SIZE", "50"),
            ("HC_SERVER_GUARD_ENABLED", "true"),
            ("HC_SERVER_GUARD_SHARE", "0.25"),
            ("HC_SERVER_CHECKS_PROBE_MEMORY", "1GiB"),
            ("HC_SERVER_SOCKET_PATH", "/run/y.sock"),
            ("HC_SERVER_SOCKET_MODE", "0600"),
            ("HC_SERVER_SOCKET_USER", "1000"),
            ("HC_SERVER_SOCKET_ALLOWED_USERS", "[\"a\", \"b\"]"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.notify.batch_size.get(), 50);
    assert_eq!(config.notify.interval, Duration::from_secs(9));
    assert_eq!(config.checks.probe_memory, 1 << 30);
    assert_eq!((config.guard.enabled, config.guard.share), (true, 0.25));
    assert_eq!(config.socket.path, Path::new("/run/y.sock"));
    assert_eq!(config.socket.mode, 0o600);
    assert_eq!(config.socket.user.as_deref(), Some("1000"));
    assert_eq!(config.socket.allowed_users, ["a", "b"]);
}

#[test]
fn errors_name_the_variable() {
    rejected(
        "",
        &[("HC_SERVER_NOTIFY_BATCH_SIZE", "0")],
        &["HC_SERVER_NOTIFY_BATCH_SIZE", "batch_size", "nonzero"],
    );
    rejected("", &[("HC_SERVER_NOTIFY_COLOUR", "red")], &["HC_SERVER_NOTIFY_COLOUR", "colour"]);
    rejected("", &[("HC_SERVER_COLOUR", "red")], &["HC_SERVER_COLOUR"]);
}

#[test]
fn keys_that_do_not_go_together() {
    let text = "[source]\nkind = \"file\"\n";
    rejected(text, &[], &["hc-server.toml: [source] files: must name the files"]);
    rejected("[source]\nfiles = [\"a\"]\n", &[], &["[source] files: has no effect without kind"]);
    rejected(
        "[source]\ndns_min_age = \"1h\"\n",
        &[],
        &["[source] dns_min_age: must not be longer than dns_max_age"],
    );
    // They are judged when the environment has had its say.
    let variables = [
        ("HC_SERVER_SOURCE_FILES", "[\"/etc/hc/*.toml\"]"),
        ("HC_SERVER_SOURCE_KIND", "file"),
        ("HC_SERVER_SOURCE_MAX_CHECKS", "10"),
    ];
    let config = load("", &variables).unwrap();
    assert_eq!((config.source.kind, config.source.files.len()), (SourceKind::File, 1));
    rejected("", &variables[..1], &["[source] files: has no effect without kind"]);
}

#[test]
fn a_share_of_spans_is_from_0_to_1() {
    for ratio in ["0.0", "0.25", "1.0"] {
        assert!(load(&format!("[trace]\nratio = {ratio}\n"), &[]).is_ok(), "{ratio}");
    }
    for ratio in ["-0.1", "1.5", "nan", "\"all\""] {
        rejected(&format!("[trace]\nratio = {ratio}\n"), &[], &["line 2", "ratio"]);
    }
    rejected("[trace]\nendpoint = \"collector:4318\"\n", &[], &["line 2", "http://"]);
}

#[test]
fn a_fleet_has_an_etcd_and_its_values_are_in_range() {
    let config = load(
        "[fleet]\nendpoints = [\"https://etcd1:2379\"]\nname = \"lb1\"\nzone = \"ams\"\nopinions = 3\nquorum = 2\n",
        &[],
    );
    let fleet = config.unwrap().fleet;
    assert_eq!(fleet.name.as_ref().map(hc_fleet::NodeName::as_str), Some("lb1"));
    assert_eq!((fleet.opinions, fleet.quorum), (3, hc_fleet::Quorum::AtLeast(2)));
    rejected("[fleet]\nname = \"a b\"\n", &[], &["line 2", "name", "letters, digits"]);
    rejected("[fleet]\ncapacity = 0\n", &[], &["line 2", "capacity", "from 1 to 1000"]);
    rejected("[fleet]\nopinions = 16\n", &[], &["line 2", "opinions", "from 1 to 15"]);
    rejected("[fleet]\nquorum = \"most\"\n", &[], &["line 2", "quorum", "majority"]);
    rejected("[fleet]\nquorum = 0\n", &[], &["line 2", "quorum", "from 1 to 15"]);
    rejected("[fleet]\nzone = \"ams\"\n", &[], &["[fleet] endpoints: must name etcd"]);
    let with = |line: &str| format!("[fleet]\nendpoints = [\"etcd1\"]\n{line}\n");
    rejected(&with("cert_file = \"a\""), &[], &["[fleet] cert_file: needs key_file"]);
    rejected(&with("user = \"a\""), &[], &["[fleet] user: needs password_file"]);
    rejected(&with("ttl = \"1s\""), &[], &["[fleet] ttl: must be at least 2 s"]);
}
