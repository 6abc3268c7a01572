//! Named dialogues with the real servers, each in a network of its own: Redis, Exim, PostgreSQL,
//! MariaDB, OpenLDAP.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig, Roots};
use hc_testkit::network::{in_own_network, run};
use hc_testkit::process::{PATIENCE, Process, wait_for, wait_until};
use hc_types::{
    CheckSpec, Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, LdapDialogue,
    MysqlDialogue, PostgresqlDialogue, ProbeSpec, RedisDialogue, RedisRole, SmtpDialogue, StreamPattern,
    Target, Timing, Tls,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A directory for one server, with a certificate for this machine, and the authority that has
/// signed it.
struct Home(TempDir);

impl Home {
    /// Owned by `user`, who must be able to reach it.
    fn new(user: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let home = Self(dir);
        let key = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256";
        home.openssl(&format!("req -x509 {key} -keyout root.key -out root.pem -days 30 -subj /CN=root"));
        home.openssl(&format!("req -new {key} -keyout key.pem -out csr.pem -subj /CN=here"));
        home.write("san.cnf", "subjectAltName=IP:127.0.0.1\n");
        home.openssl(
            "x509 -req -in csr.pem -CA root.pem -CAkey root.key -set_serial 7 -days 30 -extfile san.cnf -out cert.pem",
        );
        fs::set_permissions(home.path("key.pem"), Permissions::from_mode(0o600)).unwrap();
        home.give("", user);
        home.give("key.pem", user);
        home
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.split_whitespace();
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self) -> String {
        self.0.path().to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn folder(&self, name: &str, user: &str) {
        fs::create_dir(self.path(name)).unwrap();
        self.give(name, user);
    }

    fn give(&self, name: &str, user: &str) {
        run(&format!("chown {user} {}", self.path(name).display()));
    }

    fn start(&self, command: &mut Command, port: u16) -> Process {
        let name = command.get_program().to_str().unwrap().to_owned();
        let started = Process::try_start_logged(command.stdin(Stdio::null()), &self.path("log"));
        let process = started.unwrap_or_else(|error| panic!("{error}: `cargo xtask setup` installs {name}"));
        wait_until(&format!("{name} listens"), || TcpStream::connect((HERE, port)).is_ok());
        process
    }

    /// What a probe finds, behind its subject.
    fn check(&self, address: &str, tls: Option<Tls>, dialogue: Dialogue) -> String {
        let (roots, _malformed) = Roots::new([CertificateDer::from_pem_file(self.path("root.pem")).unwrap()]);
        let mut config = CheckersConfig::default();
        config.roots = roots;
        let address: std::net::SocketAddr = address.parse().unwrap();
        let target = Target::plain(address.ip(), address.port());
        let probe = ProbeSpec::Dialogue(Box::new(DialogueProbe { tls, dialogue }));
        let timing = Timing::every(Duration::from_secs(60)).timeout(Duration::from_secs(15));
        let spec = Arc::new(CheckSpec::new(target, probe, timing).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(Checkers::new(config).probe(&spec));
        let text = spec.text(&outcome);
        let cause = text.split_once("; ").map_or("", |(_, cause)| cause);
        format!("{}: {cause}", outcome.label())
    }
}

#[track_caller]
fn passes(found: &str) {
    assert!(found.starts_with("pass: "), "{found}");
}

fn tls() -> Option<Tls> {
    Some(Tls::new(true))
}

#[test]
fn redis() {
    let home = Home::new("root");
    in_own_network(move || {
        let server = |port: u16, more: &str| {
            let dir = home.text();
            let words = format!("--port {port} --bind 127.0.0.1 --save --appendonly no --dir {dir} {more}");
            let words = words.split(' ').map(|word| if word == "EMPTY" { "" } else { word });
            home.start(Command::new("redis-server").args(words), port)
        };
        let ask = |port: u16, probe: RedisDialogue| {
            home.check(&format!("127.0.0.1:{port}"), None, Dialogue::Redis(probe))
        };
        let redis = RedisDialogue::default;
        let with = |password: &str| RedisDialogue { password: password.into(), ..redis() };
        let role = |role| RedisDialogue { role: Some(role), ..redis() };

        let _master = server(6379, "--enable-debug-command yes --dbfilename full.rdb");
        passes(&ask(6379, redis()));
        assert_eq!(ask(6379, role(RedisRole::Master)), "pass: it is a master");
        assert_eq!(
            ask(6379, role(RedisRole::Replica)),
            "wrong_answer: ROLE: its role is \"master\", and not replica"
        );
        let unneeded = ask(6379, with("secret"));
        assert!(unneeded.starts_with("wrong_answer: AUTH: "), "{unneeded}");

        let _locked = server(6380, "--requirepass secret");
        passes(&ask(6380, with("secret")));
        passes(&ask(6380, RedisDialogue { username: "default".into(), ..with("secret") }));
        assert_eq!(
            ask(6380, redis()),
            "wrong_answer: PING: it wants a password: \"NOAUTH Authentication required.\""
        );
        let wrong = ask(6380, with("other"));
        // Its own words could repeat the password.
        assert_eq!(wrong, "wrong_answer: AUTH: the password is wrong: \"WRONGPASS\"");

        // Nobody listens where its master should be.
        let _replica = server(6381, "--replicaof 127.0.0.1 1 --replica-serve-stale-data no");
        let lost = ask(6381, redis());
        assert!(lost.starts_with("wrong_answer: PING: it has lost its master: \"MASTERDOWN "), "{lost}");

        // One that loads ten thousand keys, a millisecond each.
        run("redis-cli -p 6379 debug populate 10000");
        run("redis-cli -p 6379 save");
        let _loading = server(
            6382,
            "--dbfilename full.rdb --key-load-delay 1000 --loading-process-events-interval-bytes 1024",
        );
        let loading = ask(6382, redis());
        assert!(loading.starts_with("wrong_answer: PING: it is loading its data: \"LOADING "), "{loading}");

        let over_tls =
            "--port 0 --tls-port 6383 --tls-cert-file cert.pem --tls-key-file key.pem --tls-auth-clients no";
        let dir = home.text();
        let over_tls = over_tls
            .replace("cert.pem", &format!("{dir}/cert.pem"))
            .replace("key.pem", &format!("{dir}/key.pem"));
        let words = format!("{over_tls} --bind 127.0.0.1 --save --dir {dir}");
        let _tls = home.start(Command::new("redis-server").args(words.split(' ')), 6383);
        passes(&home.check("127.0.0.1:6383", tls(), Dialogue::Redis(redis())));
    });
}

#[test]
fn smtp() {
    let home = Home::new("Debian-exim");
    home.folder("spool", "Debian-exim");
    let config = format!(
        "spool_directory = {at}/spool\nlog_file_path = {at}/spool/%slog\npid_file_path = {at}/spool/pid\n\
         primary_hostname = mail.example\ndaemon_smtp_ports = 25\nlocal_interfaces = 127.0.0.1\n\
         tls_advertise_hosts = *\ntls_certificate = {at}/cert.pem\ntls_privatekey = {at}/key.pem\nkeep_environment =\n",
        at = home.text()
    );
    home.write("exim.conf", &config);
    in_own_network(move || {
        let _exim = home.start(Command::new("exim4").arg("-C").arg(home.path("exim.conf")).arg("-bdf"), 25);
        let smtp = |starttls| Dialogue::Smtp(SmtpDialogue { hello: "localhost".into(), starttls });
        passes(&home.check("127.0.0.1:25", None, smtp(false)));
        passes(&home.check("127.0.0.1:25", tls(), smtp(true)));
        let strangers = Home::new("root").check("127.0.0.1:25", tls(), smtp(true));
        assert!(strangers.starts_with("tls: STARTTLS: TLS: "), "{strangers}");

        // The same by steps of one's own.
        let expect = |bytes: &str| {
            DialogueStep::Expect(DialogueExpectation {
                rest_of_line: true,
                ..DialogueExpectation::new(ExpectedBytes::Begin(bytes.into()))
            })
        };
        let replies = || {
            let pattern = StreamPattern::new("^(250-[^\n]*\n)*250 [^\n]*\n").unwrap();
            DialogueStep::Expect(DialogueExpectation::new(ExpectedBytes::Pattern(pattern)))
        };
        let steps = [
            expect("220 "),
            DialogueStep::Send("EHLO localhost\r\n".into()),
            replies(),
            DialogueStep::Send("STARTTLS\r\n".into()),
            expect("220 "),
            DialogueStep::StartTls,
            DialogueStep::Send("EHLO localhost\r\n".into()),
            replies(),
            DialogueStep::Send("QUIT\r\n".into()),
            expect("221 "),
        ];
        passes(&home.check("127.0.0.1:25", None, Dialogue::Steps(steps.into())));
        let steps = [expect("220 "), DialogueStep::Send("NOOP\r\n".into()), expect("251 ")];
        assert_eq!(
            home.check("127.0.0.1:25", None, Dialogue::Steps(steps.into())),
            "body_mismatch: step 3 (expect \"251 \"): unexpected response - \"250 OK\\r\\n\"; the peer speaks SMTP"
                .replace("; the peer speaks SMTP", "")
        );
        // Nobody was left waiting for the end of a session.
        let log = fs::read_to_string(home.path("spool/mainlog")).unwrap();
        let lost = log.lines().filter(|line| line.contains("unexpected disconnection")).count();
        assert!(lost <= 1, "{log}");
    });
}

/// Where Debian has PostgreSQL's programs.
fn postgresql_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("`cargo xtask setup` installs postgresql");
    versions
        .map(|version| version.unwrap().path().join("bin"))
        .find(|bin| bin.join("postgres").exists())
        .unwrap()
}

fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(program).current_dir("/");
    command
}

#[test]
fn postgresql() {
    let home = Home::new("postgres");
    in_own_network(move || {
        let bin = postgresql_programs();
        let made = as_user("postgres", &bin.join("initdb"))
            .args(["--no-sync", "--auth-host=scram-sha-256", "--auth-local=trust", "-U", "postgres", "-D"])
            .arg(home.path("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        home.write(
            "data/pg_hba.conf",
            "local all all trust\nhost all trusted 127.0.0.1/32 trust\nhost all kept_out 127.0.0.1/32 reject\n\
             host all old 127.0.0.1/32 password\nhost all all 127.0.0.1/32 scram-sha-256\n",
        );
        let start = |more: &[&str]| {
            let (dir, data) = (home.text(), home.path("data"));
            let mut command = as_user("postgres", &bin.join("postgres"));
            let ssl = [format!("ssl_cert_file={dir}/cert.pem"), format!("ssl_key_file={dir}/key.pem")];
            command.arg("-D").arg(data).args([
                "-h",
                "127.0.0.1",
                "-p",
                "5432",
                "-k",
                &dir,
                "-c",
                "fsync=off",
            ]);
            command.args(["-c", "ssl=on", "-c", &ssl[0], "-c", &ssl[1]]).args(more);
            home.start(&mut command, 5432)
        };
        let ask = |tls, user: &str, database: &str| {
            let probe = PostgresqlDialogue { username: user.into(), database: database.into() };
            home.check("127.0.0.1:5432", tls, Dialogue::Postgresql(probe))
        };
        let mut server = start(&[]);
        wait_until("PostgreSQL is ready", || ask(None, "nobody", "").starts_with("pass"));
        // Whoever that is: it is the server that is asked, not the user.
        assert_eq!(ask(None, "nobody", ""), "pass: it asks for SCRAM-SHA-256");
        assert_eq!(ask(tls(), "nobody", "postgres"), "pass: it asks for SCRAM-SHA-256");
        assert_eq!(ask(None, "old", ""), "pass: it asks for a password");
        let created = Command::new(bin.join("psql"))
            .args(["-h", &home.text(), "-U", "postgres", "-c", "CREATE USER trusted"])
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        assert_eq!(ask(None, "trusted", "postgres"), "pass: it let us in");
        assert_eq!(ask(tls(), "trusted", "postgres"), "pass: it let us in");
        assert_eq!(
            ask(None, "trusted", "missing"),
            "wrong_answer: StartupMessage: error 3D000: \"database \\\"missing\\\" does not exist\""
        );
        let kept_out = ask(None, "kept_out", "");
        assert!(
            kept_out.starts_with("wrong_answer: StartupMessage: error 28000: \"pg_hba.conf rejects"),
            "{kept_out}"
        );
        assert!(server.terminate().success());
        // A question for a password that is not answered is no error for the server.
        let log = fs::read_to_string(home.path("log")).unwrap();
        let errors = log.lines().filter(|line| line.contains("FATAL") || line.contains("ERROR"));
        assert!(
            errors.clone().all(|line| line.contains("missing")
                || line.contains("rejects")
                || line.contains("57P03")
                || line.contains("starting up")),
            "{:?}",
            errors.collect::<Vec<_>>()
        );

        // One that recovers and lets nobody in meanwhile.
        home.write("data/standby.signal", "");
        let mut server = start(&["-c", "hot_standby=off"]);
        let text = ask(None, "nobody", "");
        assert!(
            text.starts_with("wrong_answer: StartupMessage: error 57P03: \"the database system is "),
            "{text}"
        );
        server.terminate();

        // TLS is refused in words.
        fs::remove_file(home.path("data/standby.signal")).unwrap();
        let mut server = start(&["-c", "ssl=off"]);
        assert_eq!(ask(tls(), "nobody", ""), "wrong_answer: SSLRequest: it speaks no TLS");
        server.terminate();
    });
}

#[test]
fn mysql() {
    let home = Home::new("mysql");
    home.folder("data", "mysql");
    in_own_network(move || {
        let data = home.path("data").to_str().unwrap().to_owned();
        let socket = format!("{data}/sock");
        let made = Command::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--user=mysql",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .arg(format!("--datadir={data}"))
            .output()
            .expect("`cargo xtask setup` installs mariadb-server");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Errors of the loopback address are not counted.
        run("ip addr add 198.51.100.1/32 dev lo");
        let dir = home.text();
        let mut command = Command::new("mariadbd");
        command.args([
            "--no-defaults",
            "--user=mysql",
            "--port=3306",
            "--bind-address=0.0.0.0",
            "--log-warnings=2",
        ]);
        command.args([
            "--max-connect-errors=3",
            "--connect-timeout=60",
            "--performance-schema=on",
            "--max-connections=10",
            "--extra-max-connections=2",
        ]);
        command.args([
            format!("--datadir={data}"),
            format!("--socket={socket}"),
            format!("--pid-file={data}/pid"),
        ]);
        command.args([
            format!("--ssl-cert={dir}/cert.pem"),
            format!("--ssl-key={dir}/key.pem"),
            "--extra-port=3307".to_owned(),
        ]);
        let mut server = home.start(&mut command, 3306);
        let sql = |statement: &str| {
            let output = Command::new("mariadb")
                .args(["--no-defaults", "-N", "-uroot", &format!("-S{socket}"), "-e", statement])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let ask = |address: &str, tls, user: &str| {
            home.check(address, tls, Dialogue::Mysql(MysqlDialogue { username: user.into() }))
        };
        let far = "198.51.100.1:3306";
        let shut_out = ask(far, None, "");
        assert!(
            shut_out
                .starts_with("wrong_answer: the greeting: error 1130: \"Host '198.51.100.1' is not allowed"),
            "{shut_out}"
        );
        sql("create user 'hc'@'%'; create user 'other'@'%' identified by 'secret'; flush hosts");
        for _ in 0..6 {
            let found = ask(far, None, "");
            assert!(
                found.starts_with("pass: version 5.5.5-10.") && found.ends_with(" denied us access"),
                "{found}"
            );
            let found = ask(far, None, "hc");
            assert!(found.starts_with("pass: version 5.5.5-10.") && found.ends_with(" let us in"), "{found}");
        }
        let denied = ask(far, None, "other");
        assert!(
            denied.starts_with("wrong_answer: the login: error 1045: \"Access denied for user 'other'"),
            "{denied}"
        );
        let found = ask("127.0.0.1:3306", tls(), "hc");
        assert!(found.ends_with(" let us in"), "{found}");
        let errors = "select ifnull(sum(count_handshake_errors + sum_connect_errors), 0) from performance_schema.host_cache";
        assert_eq!(sql(errors), "0");
        // So it would be without a login.
        TcpStream::connect(far).unwrap().read_exact(&mut [0; 64]).unwrap();
        wait_until("the server counts the error", || sql(errors) == "1");

        // Sessions from before may still count, so one connection more is held until it is full.
        let (mut held, mut full) = (Vec::new(), String::new());
        wait_for(PATIENCE, || {
            held.push(TcpStream::connect(far).unwrap());
            full = ask(far, None, "");
            full.contains("error 1040")
        });
        assert_eq!(full, "wrong_answer: the greeting: error 1040: \"Too many connections\"");
        drop(held);
        server.terminate();
    });
}

#[test]
fn ldap() {
    let home = Home::new("root");
    home.folder("db", "root");
    let config = |more: &str| {
        format!(
            "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n{more}\
             pidfile {at}/pid\nTLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\n\
             database mdb\nsuffix \"dc=example\"\nrootdn \"cn=admin,dc=example\"\nrootpw secret\ndirectory {at}/db\n",
            at = home.text()
        )
    };
    let configs = [config(""), config("require authc\n")];
    in_own_network(move || {
        let start = |config: &str| {
            home.write("slapd.conf", config);
            let mut command = Command::new("slapd");
            command.args(["-d", "0", "-h", "ldap://127.0.0.1:389/ ldaps://127.0.0.1:636/", "-f"]);
            home.start(command.arg(home.path("slapd.conf")), 389)
        };
        let ask = |port: u16, tls, user: &str, password: &str, starttls| {
            let probe = LdapDialogue { username: user.into(), password: password.into(), starttls };
            home.check(&format!("127.0.0.1:{port}"), tls, Dialogue::Ldap(probe))
        };
        let mut server = start(&configs[0]);
        passes(&ask(389, None, "", "", false));
        passes(&ask(389, tls(), "", "", true));
        passes(&ask(636, tls(), "", "", false));
        passes(&ask(389, None, "cn=admin,dc=example", "secret", false));
        passes(&ask(389, tls(), "cn=admin,dc=example", "secret", true));
        assert_eq!(
            ask(389, None, "cn=admin,dc=example", "wrong", false),
            "wrong_answer: the bind: result 49 (invalidCredentials): \"\""
        );
        server.terminate();
        let mut server = start(&configs[1]);
        let refused = ask(389, None, "", "", false);
        assert!(refused.starts_with("wrong_answer: the search of the root DSE: result "), "{refused}");
        passes(&ask(389, None, "cn=admin,dc=example", "secret", false));
        server.terminate();
    });
}
