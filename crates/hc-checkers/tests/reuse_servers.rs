//! Kept connections and TLS sessions with nginx and HAProxy: limits of theirs, and their restart.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::Checkers;
use hc_testkit::certificate::{Authority, Wish};
use hc_types::ConnectionOrigin::{New, Resumed, Reused};
use hc_types::{
    CheckSpec, ConnectionOrigin, HttpOverrides, HttpProbe, HttpRequest, Outcome, ProbeSpec, Target, Timing,
    Tls, TlsOptions,
};
use openssl::pkey::PKey;
use openssl::x509::X509;
use tokio::time::Instant;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server on a socket that it inherits, so that it can be started again at the same port.
struct Server {
    listener: TcpListener,
    dir: tempfile::TempDir,
    program: Program,
    child: Child,
}

#[derive(Clone, Copy, Debug)]
enum Program {
    Nginx { more: &'static str, tls: bool },
    Haproxy { keep_alive: &'static str },
}

impl Program {
    fn spawn(self, dir: &Path, listener: &TcpListener) -> Child {
        let port = listener.local_addr().unwrap().port();
        let socket = Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        let at = dir.display();
        let mut command = match self {
            Self::Nginx { more, tls } => {
                let ssl = if tls { " ssl" } else { "" };
                let config = format!(
                    "daemon off; user root; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\nevents {{}}\n\
                     http {{ access_log off; default_type text/plain;\n\
                     client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3;\n\
                     uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;\n\
                     ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem; {more}\n\
                     server {{ listen 127.0.0.1:{port}{ssl}; location / {{ return 200 'ok'; }} }} }}\n"
                );
                std::fs::write(dir.join("nginx.conf"), config).unwrap();
                let mut command = Command::new("/usr/sbin/nginx");
                command.args(["-p", dir.to_str().unwrap(), "-c", "nginx.conf"]).env("NGINX", "0;");
                command
            }
            Self::Haproxy { keep_alive } => {
                let config = format!(
                    "defaults\n mode http\n timeout client 20s\n timeout connect 5s\n timeout server 5s\n \
                     timeout http-keep-alive {keep_alive}\nfrontend f\n bind fd@0\n \
                     http-request return status 200 content-type text/plain string ok\n"
                );
                std::fs::write(dir.join("haproxy.cfg"), config).unwrap();
                let mut command = Command::new("/usr/sbin/haproxy");
                command.arg("-db").arg("-f").arg(dir.join("haproxy.cfg"));
                command
            }
        };
        command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("nginx and haproxy (Debian packages nginx-light and haproxy)")
    }
}

impl Server {
    fn start(program: Program) -> Self {
        let identity =
            Authority::new("root", 2000, 2100).unwrap().sign(&Wish::valid_for(["127.0.0.1"])).unwrap();
        let certificate = X509::from_der(&identity.chain[0]).unwrap().to_pem().unwrap();
        let key = PKey::private_key_from_der(&identity.key()).unwrap().private_key_to_pem_pkcs8().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cert.pem"), certificate).unwrap();
        std::fs::write(dir.path().join("key.pem"), key).unwrap();
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let child = program.spawn(dir.path(), &listener);
        Self { listener, dir, program, child }
    }

    fn stop(&mut self) {
        // The worker of nginx ends with it, which a kill would not do.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.stop();
        self.child = self.program.spawn(self.dir.path(), &self.listener);
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Our connections to it that we have not closed.
    fn open(&self) -> usize {
        const ESTABLISHED: &str = "01";
        const CLOSE_WAIT: &str = "08";
        let peer = format!(":{:04X}", self.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let is_ours = |line: &&str| {
            let mut words = line.split_whitespace().skip(2);
            words.next().is_some_and(|remote| remote.ends_with(&peer))
                && words.next().is_some_and(|state| state == ESTABLISHED || state == CLOSE_WAIT)
        };
        table.lines().filter(is_ours).count()
    }

    /// Waits until we have closed all, without a probe.
    async fn all_closed(&self) {
        let begun = Instant::now();
        while self.open() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "a connection is still open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn spec(&self, reuse: u16, tls: Option<Tls>) -> CheckSpec {
        let request = Some(Arc::new(HttpRequest { reuse, ..HttpRequest::default() }));
        let overrides = Some(Box::new(HttpOverrides { request, ..HttpOverrides::default() }));
        let probe = HttpProbe { expected_codes: [200].into(), overrides, tls, ..HttpProbe::default() };
        let timing = Timing::every(Duration::from_secs(20)).timeout(Duration::from_secs(20));
        CheckSpec::new(Target::plain(HERE, self.port()), ProbeSpec::Http(Box::new(probe)), timing).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn origins<const N: usize>(checkers: &Checkers, spec: &CheckSpec) -> [ConnectionOrigin; N] {
    let mut origins = [New; N];
    for origin in &mut origins {
        let result = checkers.probe_with_evidence(spec).await;
        assert!(matches!(result.outcome, Outcome::Pass(_)), "{result:?}");
        *origin = result.evidence.origin;
    }
    origins
}

fn resuming(resume: u16) -> Option<Tls> {
    let mut options = TlsOptions::default();
    options.resume = resume;
    Some(Tls { options: Some(Arc::new(options)), ..Tls::new(false) })
}

#[tokio::test]
async fn connections_are_kept_and_sessions_resumed() {
    for program in [Program::Nginx { more: "", tls: false }, Program::Haproxy { keep_alive: "20s" }] {
        let server = Server::start(program);
        let checkers = Checkers::default();
        let spec = server.spec(4, None);
        assert_eq!(
            origins(&checkers, &spec).await,
            [New, Reused, Reused, Reused, New, Reused],
            "{program:?}"
        );
    }
    for more in [
        "",
        "ssl_protocols TLSv1.2;",
        "ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache shared:x:1m;",
    ] {
        let server = Server::start(Program::Nginx { more, tls: true });
        let checkers = Checkers::default();
        let spec = server.spec(0, resuming(3));
        assert_eq!(origins(&checkers, &spec).await, [New, Resumed, Resumed, New, Resumed], "{more}");
        let both = server.spec(2, resuming(3));
        assert_eq!(
            origins(&checkers, &both).await,
            [New, Reused, Resumed, Reused, Resumed, Reused, New],
            "{more}"
        );
    }
}

#[tokio::test]
async fn a_limit_of_requests_is_respected() {
    let server = Server::start(Program::Nginx { more: "keepalive_requests 3;", tls: false });
    let checkers = Checkers::default();
    let spec = server.spec(100, None);
    assert_eq!(origins(&checkers, &spec).await, [New, Reused, Reused, New, Reused, Reused, New]);
}

#[tokio::test]
async fn a_connection_that_the_server_gives_up_is_closed_here_too() {
    for program in [
        Program::Nginx { more: "keepalive_timeout 1s;", tls: false },
        Program::Haproxy { keep_alive: "200ms" },
    ] {
        let server = Server::start(program);
        let checkers = Checkers::default();
        let spec = server.spec(100, None);
        assert_eq!(origins(&checkers, &spec).await, [New, Reused], "{program:?}");
        server.all_closed().await;
        assert_eq!(origins(&checkers, &spec).await, [New, Reused], "{program:?}");
    }
}

#[tokio::test]
async fn a_restart_between_two_probes_is_no_failure() {
    for program in [
        Program::Nginx { more: "", tls: false },
        Program::Nginx { more: "", tls: true },
        Program::Haproxy { keep_alive: "20s" },
    ] {
        let mut server = Server::start(program);
        let checkers = Checkers::default();
        let tls = matches!(program, Program::Nginx { tls: true, .. }).then(|| resuming(100)).flatten();
        let spec = server.spec(100, tls);
        for _ in 0..3 {
            // Its tickets are forgotten, too.
            assert_eq!(origins(&checkers, &spec).await, [New, Reused], "{program:?}");
            server.restart();
        }
    }
}
