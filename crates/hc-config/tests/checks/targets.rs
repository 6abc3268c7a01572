//! Targets: lists, ranges, names, what stands behind them.

use super::*;

#[test]
fn a_target_behind_a_vip() {
    let checks = read(
        "[[check]]\nname = 'a'\ntarget = '192.0.2.1'\nport = 80\ntcp = {}\nmode = 'dsr'\nmark = 7\nbackend = '10.0.0.1'\n",
    );
    let expected = Target::marked(
        [192, 0, 2, 1].into(),
        80,
        Mode::Dsr,
        Mark::new(7).unwrap(),
        Some([10, 0, 0, 1].into()),
    );
    assert_eq!(*checks[0].spec.target(), expected);
}

#[test]
fn lists_and_ranges_of_targets_and_ports() {
    let check = |keys: &str| names(&format!("[[check]]\nname = 'a'\ntcp = {{}}\n{keys}\n"));
    assert_eq!(check("target = '192.0.2.1:80'"), ["a"]);
    assert_eq!(check("target = ['192.0.2.1']\nport = 80"), ["a/192.0.2.1:80"]);
    assert_eq!(
        check("target = ['192.0.2.1', '[2001:db8::1]:81']\nport = [80, '90-91']"),
        ["a/192.0.2.1:80", "a/192.0.2.1:90", "a/192.0.2.1:91", "a/[2001:db8::1]:81"],
    );
    assert_eq!(
        check("target = '192.0.2.0/29'\nport = 80\nexclude = ['192.0.2.2', '192.0.2.4/31', '192.0.2.3:81']"),
        ["a/192.0.2.1:80", "a/192.0.2.3:80", "a/192.0.2.6:80"],
    );
    assert_eq!(check("target = '2001:db8::/127'\nport = 80"), ["a/[2001:db8::]:80", "a/[2001:db8::1]:80"]);
    assert_eq!(
        names("[[check]]\nname = 'p'\nicmp = {}\ntarget = ['192.0.2.1', '2001:db8::1']\n"),
        ["p/192.0.2.1", "p/2001:db8::1"],
    );
}

#[test]
fn targets_with_names_and_labels_of_their_own() {
    let text = "
        [defaults]
        labels = { rack = 'none', site = 'ams' }
        [[check]]
        name = 'web'
        http = {}
        target = [
          '192.0.2.1',
          { address = '192.0.2.2', name = 's2', labels = { rack = 'r2' } },
          { address = '192.0.2.8/31', labels = { rack = 'r8' } },
        ]
        [[check]]
        name = 'one'
        port = '80-81'
        tcp = {}
        target = { address = 'a.example', name = 'a' }
    ";
    let read = parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap();
    let racks: Vec<(&str, &str)> =
        read.checks.iter().map(|check| (&*check.name, label(check, "rack"))).collect();
    let expected = [
        ("web/192.0.2.1:80", "none"),
        ("web/s2", "r2"),
        ("web/192.0.2.8:80", "r8"),
        ("web/192.0.2.9:80", "r8"),
    ];
    assert_eq!(racks, expected);
    assert!(read.checks.iter().all(|check| label(check, "site") == "ams"));
    let hosts: Vec<&str> = read.hosts.iter().map(|host| &*host.name).collect();
    assert_eq!(hosts, ["one/a:80", "one/a:81"]);
}

#[test]
fn targets_that_are_host_names() {
    let text = "
        [[check]]
        name = 'web'
        target = 'WWW.example.com'
        http = { path = '/a', tls = true }
        [[check]]
        name = 'all'
        target = ['db.example:5432', '192.0.2.1']
        port = 5433
        tcp = {}
        resolve = 'all'
        exclude = ['198.51.100.0/28', '198.51.100.77:5433']
    ";
    let read = parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles).unwrap();
    assert_eq!(read.checks.len(), 1);
    let [web, all] = &read.hosts[..] else { panic!("{:?}", read.hosts) };
    assert_eq!(
        (&*web.name, &*web.host, web.port, web.resolve),
        ("web", "www.example.com", 443, Resolve::Each)
    );
    assert_eq!((&*all.name, &*all.host, all.port), ("all/db.example:5432", "db.example", 5432));
    assert_eq!(all.resolve, Resolve::All);
    assert_eq!(all.id(), check_id("all/db.example:5432"));

    let check = web.check("2001:db8::1".parse().unwrap()).unwrap().unwrap();
    let http = HttpProbe {
        tls: Some(Tls::new(true)),
        request_target: "/a".into(),
        overrides: Some(named("www.example.com", "www.example.com")),
        expected_codes: [200].into(),
        ..HttpProbe::default()
    };
    assert_eq!(*check.spec, spec("[2001:db8::1]:443", ProbeSpec::Http(Box::new(http))));
    assert_eq!((&*check.name, check.id), ("web/2001:db8::1", check_id("web/2001:db8::1")));

    let of = |ip: &str| all.check(ip.parse().unwrap());
    assert!(of("198.51.100.1").is_none(), "excluded");
    assert!(of("198.51.100.77").unwrap().is_ok(), "excluded on another port");
    assert!(of("224.0.0.1").unwrap().is_err());
}

#[test]
fn a_check_has_a_way_of_its_own() {
    let text = "[defaults]\nsource = ['192.0.2.9', '2001:db8::9']\ndevice = 'eth1'\n\
         [[check]]\nname = 'a'\ntarget = ['192.0.2.1:80', '[2001:db8::1]:80']\ntcp = {}\nproxy_protocol = 'v2-local'\n\
         [[check]]\nname = 'b'\ntarget = '192.0.2.1'\nicmp = {}\n\
         [[check]]\nname = 'c'\ntarget = 'host.example:80'\ntcp = {}\n";
    let sources = [SourceFile::new("checks.toml", text)];
    let checks = parse(&sources, &Limits::default(), &NoFiles).unwrap();
    let way = |spec: &CheckSpec| {
        let target = spec.target();
        (
            target.source().map(|ip| ip.to_string()),
            target.device().map(str::to_owned),
            target.proxy_protocol(),
        )
    };
    let from = |source: &str, header| (Some(source.to_owned()), Some("eth1".to_owned()), header);
    let local = Some(ProxyProtocol::V2Local);
    let ways: Vec<_> = checks.checks.iter().map(|check| way(&check.spec)).collect();
    assert_eq!(ways, [from("192.0.2.9", local), from("2001:db8::9", local), from("192.0.2.9", None)]);
    let of = |ip: &str| way(&checks.hosts[0].check(ip.parse().unwrap()).unwrap().unwrap().spec);
    assert_eq!(of("192.0.2.7"), from("192.0.2.9", None));
    assert_eq!(of("2001:db8::7"), from("2001:db8::9", None));
}

#[test]
fn one_check_of_a_host_name_has_a_source_for_each_family() {
    let file = |sources: &str, resolve: &str| {
        let text = format!(
            "[defaults]\ninterval = '5s'\n[[check]]\nname = 'a'\ntarget = 'host.example:80'\ntcp = {{}}\n\
             resolve = '{resolve}'\nsource = {sources}\n"
        );
        let sources = [SourceFile::new("checks.toml", text)];
        parse(&sources, &Limits::default(), &NoFiles).unwrap().hosts.remove(0)
    };
    let both: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let sources = |spec: &CheckSpec| -> Vec<(IpAddr, IpAddr)> {
        let of = |ip: &IpAddr| (*ip, spec.target().clone().with_ip(*ip).source().unwrap());
        spec.host_name().unwrap().addresses().iter().map(of).collect()
    };
    for resolve in ["any", "all"] {
        let host = file("['2001:db8::9', '192.0.2.9']", resolve);
        let spec = host.check_of_all(both).unwrap().spec;
        let expected = [(both[0], "192.0.2.9".parse().unwrap()), (both[1], "2001:db8::9".parse().unwrap())];
        assert_eq!(sources(&spec), expected);
        // It is the same check whatever the addresses are, and whatever the order of the sources
        // is.
        let swapped = file("['192.0.2.9', '2001:db8::9']", resolve);
        assert_eq!(swapped.check_of_all([]).unwrap().spec.key(), spec.key());
        for (source, left) in [("'192.0.2.9'", 0), ("'2001:db8::9'", 1)] {
            let host = file(source, resolve);
            let one = host.check_of_all(both).unwrap().spec;
            assert_eq!(sources(&one), [expected[left]]);
            assert!(one.key() != spec.key() && one.key() == host.check_of_all([]).unwrap().spec.key());
            let error = host.check(both[1 - left]).unwrap().unwrap_err().to_string();
            assert!(error.ends_with("is of another family than the target"), "{error}");
        }
    }
}
