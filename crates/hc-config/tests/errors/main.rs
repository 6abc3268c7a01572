//! What is wrong in files, and how it is said.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod files;
mod http;

use hc_config::{Limits, NoFiles, SourceFile, load, parse};

#[track_caller]
fn wrong(text: &str, expected: &[&str]) {
    wrong_files(&[SourceFile::new("f", text)], expected);
}

#[track_caller]
fn wrong_files(files: &[SourceFile], expected: &[&str]) {
    let errors = parse(files, &Limits::new(65_536, 100_000), &NoFiles).unwrap_err();
    let lines: Vec<String> = errors.diagnostics().iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected);
}

/// One check that is right but for `keys`, which begin on line 4.
#[track_caller]
fn wrong_check(keys: &str, expected: &[&str]) {
    wrong(&format!("[[check]]\nname = 'a'\ntarget = '192.0.2.1'\n{keys}\n"), expected);
}

#[test]
fn everything_is_reported_at_once() {
    wrong(
        "[defaults]\nintervall = '5s'\ntimeout = 5\n[[check]]\nname = 'a'\ntarget = '192.0.2.300'\nhttp.methd = 'GET'\nretries = -1\n",
        &[
            "f:2:1: defaults.intervall: is not a key of this table; did you mean `interval`?",
            "f:3:11: defaults.timeout: expected a duration such as \"5s\", found an integer",
            "f:6:10: check.target: \"192.0.2.300\" is not an address, a host name, one of these with a port, or a CIDR range",
            "f:7:6: check.http.methd: is not a key of this table; did you mean `method`?",
            "f:8:11: check.retries: -1 is not in 0 to 4294967295",
        ],
    );
}

#[test]
fn a_source_of_a_host_name_is_one_that_packets_are_sent_from() {
    for resolve in ["each", "any"] {
        let check =
            format!("[[check]]\nname = 'a'\ntarget = 'h.example:80'\ntcp = {{}}\nresolve = '{resolve}'\n");
        let problem = "f:6:10: check.source: 0.0.0.0 is no address that packets are sent from";
        wrong(&format!("{check}source = '0.0.0.0'\n"), &[problem]);
        let problem = "f:6:24: check.source: 192.0.2.2 is a second one of its family";
        wrong(&format!("{check}source = ['192.0.2.1', '192.0.2.2']\n"), &[problem]);
    }
}

#[test]
fn timings_that_make_no_sense() {
    wrong_check(
        "icmp = {}\nretries = 1\nfall = 2",
        &["f:6:8: check.fall: not together with `retries` (see f:5:11)"],
    );
    wrong_check(
        "icmp = {}\nfall = 0\nrise = 0",
        &["f:5:8: check.fall: 0 is not in 1 to 4294967296", "f:6:8: check.rise: 0 is not in 1 to 4294967295"],
    );
    wrong_check(
        "icmp = {}\njitter = '51%'",
        &["f:5:10: check.jitter: \"51%\" is not a share from 0% to 50%"],
    );
    wrong_check(
        "icmp = {}\njitter = 'some'",
        &["f:5:10: check.jitter: \"some\" is neither a share (\"10%\") nor a duration"],
    );
    wrong_check(
        "icmp = {}\nfast_interval = '11s'",
        &["f:5:17: check.fast_interval: must be at most the interval"],
    );
    wrong_check(
        "icmp = {}\nfast_interval = '1s'\njitter = '600ms'",
        &["f:6:10: check.jitter: must be at most half of the shortest interval (50%)"],
    );
    wrong_check(
        "icmp = {}\ndown_interval = '25h'\nstart_delay = '-1s'",
        &[
            "f:5:17: check.down_interval: \"25h\" is not in 10ms to 1day",
            "f:6:15: check.start_delay: \"-1s\" is not a duration such as \"5s\" or \"500ms\": expected number at 0",
        ],
    );
}

#[test]
fn dependencies_that_cannot_be() {
    let check = |name: &str, on: &str| {
        format!("[[check]]\nname = '{name}'\ntarget = '192.0.2.1'\nicmp = {{}}\ndepends_on = {on}\n")
    };
    wrong(
        &(check("gateway", "[]") + &check("web", "['gatewai', 'web']") + &check("db", "'nothing-like-it'")),
        &[
            "f:10:15: check.depends_on: no check has the name \"gatewai\"; did you mean `gateway`?",
            "f:10:26: check.depends_on: \"web\" depends on itself",
            "f:15:14: check.depends_on: no check has the name \"nothing-like-it\"",
        ],
    );
    wrong(
        &(check("a", "'b'") + &check("b", "['c']") + &check("c", "['d', 'a']") + &check("d", "[]")),
        &["f:15:20: check.depends_on: checks depend on each other: a -> b -> c -> a"],
    );
    // All checks of a group, the gateway among them.
    let group = "[group.g]\ndepends_on = 'gw'\nicmp = {}\n";
    let member = |name: &str| format!("[[check]]\nname = '{name}'\ngroup = 'g'\ntarget = '192.0.2.1'\n");
    wrong(
        &(group.to_owned() + &member("gw") + &member("web")),
        &["f:2:14: check.depends_on: \"gw\" depends on itself"],
    );
    let several = "[[check]]\nname = 'gw'\ntarget = ['192.0.2.1', '192.0.2.2']\nicmp = {}\n";
    wrong(
        &(several.to_owned() + &check("web", "'gw'")),
        &[
            "f:9:14: check.depends_on: \"gw\" stands for several checks: name one of them, such as \"gw/192.0.2.1\"",
        ],
    );
    let host = "[[check]]\nname = 'gw'\ntarget = 'gw.example'\nicmp = {}\n";
    wrong(
        &(host.to_owned() + &check("web", "'gw'")),
        &[
            "f:9:14: check.depends_on: \"gw\" has a check for each address of its host: only `resolve` any or all makes one of them",
        ],
    );
    wrong_check(
        "icmp = {}\ndepends_on = 7",
        &["f:5:14: check.depends_on: expected a name in a string, found an integer"],
    );
}

/// A chain of ten thousand checks, which must not overflow a stack.
#[test]
fn long_chains_are_judged() {
    let mut text = String::new();
    for at in 0..10_000 {
        text += &format!(
            "[[check]]\nname = 'c{at}'\ntarget = '192.0.2.1'\nicmp = {{}}\ndepends_on = 'c{}'\n",
            (at + 1) % 10_000
        );
    }
    let errors = parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap_err();
    assert_eq!(errors.diagnostics().len(), 1);
}

#[test]
fn keys_in_the_wrong_table() {
    wrong_check(
        "[check.http]\npath = '/'\ntimeout = '1s'\n[check.http.tls]\nmethod = 'HEAD'\nname = 'b'",
        &[
            "f:6:1: check.http.timeout: is not a key of this table but of `check`: write it above `[check.http]`",
            "f:8:1: check.http.tls.method: is not a key of this table but of `check.http`: write it above `[check.http.tls]`",
            "f:9:1: check.http.tls.name: is not a key of this table but of `check`: write it above `[check.http.tls]`",
        ],
    );
    wrong_check(
        "icmp = {}\npath = '/'",
        &["f:5:1: check.path: is not a key of this table; did you mean `http.path`?"],
    );
    // What another table before this one has is not around it.
    wrong_check(
        "http.path = '/'\n[defaults]\nmethod = 'HEAD'",
        &["f:6:1: defaults.method: is not a key of this table; did you mean `http.method`?"],
    );
    wrong(
        "interval = '5s'\n",
        &["f:1:1: interval: is not a key of this table; did you mean `check.interval`?"],
    );
}

#[test]
fn bad_syntax() {
    wrong("[[check]\n", &["f:1:9: unclosed array table, expected `]`"]);
    wrong("a = 1\na = 2\n", &["f:2:1: duplicate key"]);
    wrong_files(&[SourceFile::new("f", *b"# caf\xe9\n")], &["f:1:6: is not UTF-8"]);
}

#[test]
fn wrong_types() {
    wrong("check = 1\n", &["f:1:9: check: expected a list, each of its entries a table, found an integer"]);
    wrong("[check]\n", &["f:1:1: check: expected a list, each of its entries a table, found a table"]);
    wrong("[template]\na = 1\n", &["f:2:1: template.a: expected a table, found an integer"]);
    wrong_check("tcp = true", &["f:4:7: check.tcp: expected a table, found a boolean"]);
    wrong_check(
        "icmp = {}\nlabels = { a = 1, 'b c' = '' }",
        &[
            "f:5:16: check.labels.a: expected a string, found an integer",
            "f:5:19: check.labels.\"b c\": a label begins with a letter or `_` and has letters, digits and `_`",
        ],
    );
}

#[test]
fn durations_out_of_range() {
    wrong_check("icmp = {}\ninterval = '1ms'", &["f:5:12: check.interval: \"1ms\" is not in 10ms to 1day"]);
    wrong_check("icmp = {}\ntimeout = '0s'", &["f:5:11: check.timeout: \"0s\" is not in 1ns to 1day"]);
    wrong_check(
        "icmp = {}\ninterval = '5'",
        &[
            "f:5:12: check.interval: \"5\" is not a duration such as \"5s\" or \"500ms\": time unit needed, for example 5sec or 5ms",
        ],
    );
}

#[test]
fn words_have_suggestions() {
    wrong_check(
        "icmp = {}\nmode = 'drs'",
        &["f:5:8: check.mode: \"drs\" is not one of plain, dsr, tun; did you mean `dsr`?"],
    );
    wrong_check(
        "extends = 'wbe'\n[template.web]\nicmp = {}",
        &["f:4:11: check.extends: there is no template \"wbe\"; did you mean `web`?"],
    );
}

#[test]
fn a_check_needs_a_name_a_target_and_one_kind() {
    wrong(
        "[[check]]\n[[check]]\nname = 'a'\n",
        &[
            "f:1:1: check: a check needs a kind of probe: one of tcp, http, udp, dns, radius, icmp, redis, smtp, postgresql, mysql, ldap, agent, grpc",
            "f:1:1: check.name: a check needs a name",
            "f:1:1: check.target: a check needs a target",
            "f:2:1: check: a check needs a kind of probe: one of tcp, http, udp, dns, radius, icmp, redis, smtp, postgresql, mysql, ldap, agent, grpc",
            "f:2:1: check.target: a check needs a target",
        ],
    );
    wrong_check(
        "icmp = {}\nhttp = {}",
        &["f:4:8: check.icmp: not together with `http`: a check has one kind of probe"],
    );
    wrong_check("tcp = {}", &["f:1:1: check.port: a port is needed, here or behind the target"]);
    wrong(
        "[[check]]\nname = 'a b'\ntarget = '192.0.2.1'\nicmp = {}",
        &["f:2:8: check.name: has ' '; a name has neither blanks nor control characters"],
    );
}

#[test]
fn duplicate_names() {
    let file = |name: &str| SourceFile::new(name, "[[check]]\nname = 'a'\ntarget = '192.0.2.1'\nicmp = {}\n");
    wrong_files(
        &[file("f"), file("g")],
        &["g:2:8: check.name: another check has the name \"a\" (see f:2:8)"],
    );
    // Two ranges that overlap by 14 addresses are one mistake.
    wrong(
        "[[check]]\nname = 'a'\ntarget = ['192.0.2.0/28', '192.0.2.0/24']\nicmp = {}\n",
        &["f:3:27: check.name: another check has the name \"a/192.0.2.1\" (see f:3:11)"],
    );
    wrong(
        "[[check]]\nname = 'a'\ntarget = 'a.example'\nicmp = {}\n\
         [[check]]\nname = 'a'\ntarget = '192.0.2.1'\nicmp = {}\n",
        &["f:2:8: check.name: another check has the name \"a\" (see f:6:8)"],
    );
    let template = |name: &str| SourceFile::new(name, "[template.t]\n");
    wrong_files(
        &[template("f"), template("g")],
        &["g:1:11: template.t: another file has a template of this name (see f:1:11)"],
    );
}

#[test]
fn template_loops() {
    wrong(
        "[template.a]\nextends = 'b'\n[template.b]\nextends = ['c']\n[template.c]\nextends = 'a'\n",
        &[
            "f:6:11: template.c.extends: templates extend each other in a loop: a extends b extends c extends a",
        ],
    );
    wrong(
        "[template.a]\nextends = 'a'\n",
        &["f:2:11: template.a.extends: templates extend each other in a loop: a extends a"],
    );
    let chain: String = (0..2_000).map(|n| format!("[template.t{n}]\nextends = 't{}'\n", n + 1)).collect();
    let errors = parse(&[SourceFile::new("f", chain)], &Limits::default(), &NoFiles).unwrap_err();
    assert!(errors.to_string().contains("more than 64 templates extend each other in a row"));
}

#[test]
fn targets_in_tables() {
    wrong(
        "[[check]]\nname = 'a'\nicmp = {}\ntarget = [{ name = 'b' }, { address = '192.0.2.0/24', name = 'c' }, { adress = '' }, 1]\n",
        &[
            "f:4:11: check.target.address: a target needs an address",
            "f:4:39: check.target.address: a range has many addresses and no name",
            "f:4:69: check.target.address: a target needs an address",
            "f:4:71: check.target.adress: is not a key of this table; did you mean `address`?",
            "f:4:86: check.target: expected an address, a host name, one of these with a port, or a CIDR range in a string, or a table, found an integer",
        ],
    );
}

#[test]
fn what_the_domain_refuses_is_shown_at_its_key() {
    wrong_check("tcp = {}\nport = 80\nmode = 'dsr'", &["f:6:8: check.mode: dsr and tun need `mark`"]);
    wrong_check(
        "dns = { query = 'a', query_type = 'MX', expected_ips = ['192.0.2.1'] }",
        &["f:4:56: check.dns.expected_ips: only for A and AAAA, not for MX"],
    );
    wrong(
        "[[check]]\nname = 'a'\nicmp = {}\ntarget = ['192.0.2.1', '224.0.0.0/16']\n",
        &["f:4:24: check.target: 224.0.0.1 is a multicast address, from which no backend answers"],
    );
}

#[test]
fn a_syn_says_nothing_and_has_no_mark() {
    let wrong = |keys: &str, expected: &str| wrong_check(&format!("port = 25\n{keys}"), &[expected]);
    let with = "not together with `probe = \"syn\"`, which makes no connection";
    for (key, column) in [("send = 'a'", 31), ("receive = 'a'", 34), ("steps = []", 32), ("tls = true", 30)] {
        let name = key.split(' ').next().unwrap();
        let expected = format!("f:5:{column}: check.tcp.{name}: {with}");
        wrong(&format!("tcp = {{ probe = 'syn', {key} }}"), &expected);
    }
    let mark = "syn is not possible with a mark: the kernel ends the connection with a RST that has none";
    wrong("tcp.probe = 'syn'\nmark = 1", &format!("f:5:13: check.tcp.probe: {mark}"));
    wrong("tcp.probe = 'syn'\nmark = 1\nmode = 'dsr'", &format!("f:5:13: check.tcp.probe: {mark}"));
    let header = "a check of the kind syn makes no TCP connection";
    wrong("tcp.probe = 'syn'\nproxy_protocol = 'v1'", &format!("f:6:18: check.proxy_protocol: {header}"));
    wrong(
        "tcp.probe = 'sin'",
        "f:5:13: check.tcp.probe: \"sin\" is not one of connect, syn; did you mean `syn`?",
    );
}

#[test]
fn steps_that_cannot_be_taken() {
    let wrong = |steps: &str, expected: &str| {
        wrong_check(&format!("port = 25\ntcp.steps = [{steps}]"), &[expected]);
    };
    wrong("", "f:5:13: check.tcp.steps: 0 steps; a dialogue has 1 to 100");
    wrong("{}", "f:5:14: check.tcp.steps: a step sends something, expects something, or begins TLS");
    wrong("{ send = '' }", "f:5:13: check.tcp.steps: step 1 sends nothing");
    wrong("{ expect = '' }", "f:5:13: check.tcp.steps: step 1 expects nothing");
    wrong("{ starttls = false }", "f:5:14: check.tcp.steps: `starttls` is true or not there");
    wrong("{ starttls = true }, { starttls = true }", "f:5:13: check.tcp.steps: TLS begins twice");
    wrong(
        "{ send = 'a', limit = 1 }",
        "f:5:14: check.tcp.steps: `rest_of_line` and `limit` are for steps that expect something",
    );
    wrong(
        "{ send = 'a', expect = 'b' }",
        "f:5:37: check.tcp.steps.expect: not together with `send` (see f:5:23)",
    );
    wrong(
        "{ expect_regex = '(' }",
        "f:5:31: check.tcp.steps.expect_regex: is not a regular expression: unclosed group",
    );
    wrong(
        "{ expect_contains = 'abc', limit = 2 }",
        "f:5:13: check.tcp.steps: step 1 expects more bytes than its limit",
    );
    wrong_check(
        "port = 25\ntcp = { send = 'a', steps = [{ send = 'a' }] }",
        &["f:5:16: check.tcp.send: not together with `steps` (see f:5:29)"],
    );
    wrong_check(
        "ldap = { username = 'cn=a' }",
        &["f:4:21: check.ldap.username: name and password of a bind need each other"],
    );
    wrong_check(
        "smtp = { hello = 'a b' }",
        &["f:4:18: check.smtp.hello: \"a b\" is empty, or has a blank, a control \
         character or one outside ASCII"],
    );
}

#[test]
fn status_server_and_a_login_are_two_things() {
    wrong_check(
        "radius = { status_server = true, secret = 's', username = 'u' }",
        &["f:4:59: check.radius.username: not together with `status_server`, which logs nobody in"],
    );
    wrong_check(
        "dns = { query = 'a', expected_rcodes = 'NXDOMIAN' }",
        &["f:4:40: check.dns.expected_rcodes: \"NXDOMIAN\" is neither a known name nor RCODE with a number"],
    );
    wrong_check(
        "dns = { query = 'a', expected_rcodes = 'NXDOMAIN', expected_ips = '192.0.2.1' }",
        &["f:4:40: check.dns.expected_rcodes: without NOERROR no answer can be expected"],
    );
}

#[test]
fn secrets_are_not_quoted() {
    wrong_check(
        "radius = { username = 'u', secret = { base64 = 'hunter2!' }, password = 31337 }",
        &[
            "f:4:37: check.radius.secret: base64: not valid",
            "f:4:73: check.radius.password: expected a string, { hex = \"...\" } or { base64 = \"...\" }, found an integer",
        ],
    );
    wrong_check(
        "radius = { username = 'u', secret = 's', secret_file = 'f' }",
        &["f:4:56: check.radius.secret_file: not together with `secret` (see f:4:37)"],
    );
    wrong_check(
        "radius = { username = 'u' }",
        &["f:4:10: check.radius.secret: a RADIUS check needs a secret, here or in a file (`secret_file`)"],
    );
}

#[test]
fn a_wrong_target_in_a_list_is_reported_once() {
    let problem = "is not an address, a host name, one of these with a port, or a CIDR range";
    wrong(
        "[[check]]\nname = 'a'\ntarget = ['192.0.2.300']\nicmp = {}\n",
        &[&format!("f:3:11: check.target: \"192.0.2.300\" {problem}")],
    );
    wrong(
        "[[check]]\nname = 'a'\ntarget = [{ address = '192.0.2.300' }]\nicmp = {}\n",
        &[&format!("f:3:23: check.target.address: \"192.0.2.300\" {problem}")],
    );
    wrong_check("tcp = {}\nport = [0]", &["f:5:9: check.port: 0 is not in 1 to 65535"]);
}

#[test]
fn a_backend_needs_a_mark() {
    wrong_check("icmp = {}\nbackend = '192.0.2.2'", &["f:5:11: check.backend: has no effect without `mark`"]);
    wrong(
        "[group.g]\nbackend = '192.0.2.2'\n[[check]]\nname = 'a'\ngroup = 'g'\ntarget = '192.0.2.1'\nicmp = {}\n",
        &["f:2:11: check.backend: has no effect without `mark`"],
    );
}

#[test]
fn ways_that_no_packet_can_take() {
    let at = |column: usize, key: &str| format!("f:4:{column}: check.{key}: ");
    let wrong = |keys: &str, column, key: &str, problem: &str| {
        wrong_check(keys, &[&(at(column, key) + problem)]);
    };
    let other = "2001:db8::9 is of another family than the target";
    wrong("source = '2001:db8::9'\nicmp = {}", 10, "source", other);
    let two = "192.0.2.8 is a second one of its family";
    wrong("source = ['192.0.2.9', '192.0.2.8']\nicmp = {}", 24, "source", two);
    wrong("device = 'a/b'\nicmp = {}", 10, "device", "\"a/b\" is not the name of an interface");
    let udp = "a check of the kind icmp makes no TCP connection";
    wrong("proxy_protocol = 'v1'\nicmp = {}", 18, "proxy_protocol", udp);
}
