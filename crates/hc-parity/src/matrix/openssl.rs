//! Keys and certificates by the openssl program.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::case::Case;
use crate::serve::Server;

/// What leaf certificates are for, unless something else is asked for.
pub(super) const HERE: &str = "subjectAltName=IP:127.0.0.1,DNS:www.example.com";
/// What authorities say of themselves.
pub(super) const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign";

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// How a certificate is made.
#[derive(Clone, Debug)]
pub(super) struct Order<'a> {
    pub(super) name: &'a str,
    /// Lines of openssl's configuration; none at all: a certificate of version 1.
    pub(super) extensions: &'a str,
    /// Options of `openssl x509`.
    pub(super) options: &'a [&'a str],
    pub(super) issuer: Option<&'a Pair>,
}

impl<'a> Order<'a> {
    /// A leaf for this machine.
    pub(super) fn leaf(name: &'a str, issuer: &'a Pair) -> Self {
        Self { name, extensions: HERE, options: &["-sha256"], issuer: Some(issuer) }
    }

    /// An authority.
    pub(super) fn authority(name: &'a str, issuer: Option<&'a Pair>) -> Self {
        Self { name, extensions: AUTHORITY, options: &["-sha256"], issuer }
    }
}

/// Where keys and certificates are made.
pub(super) struct Workshop {
    directory: PathBuf,
    pub(super) go_server: PathBuf,
    /// The authority of most leaves, with a P-256 key. Trusted.
    pub(super) root: Pair,
    trusted: RefCell<Vec<PathBuf>>,
}

impl Workshop {
    pub(super) fn new(directory: &Path, programs: &Path) -> Result<Self> {
        let none = || Pair { certificate: PathBuf::new(), key: PathBuf::new() };
        let mut workshop = Self {
            directory: directory.to_owned(),
            go_server: programs.join("tls-server"),
            root: none(),
            trusted: RefCell::default(),
        };
        let key = workshop.key("matrix-root", "EC:P-256")?;
        workshop.root = workshop.certificate(&Order::authority("matrix-root", None), &key)?;
        workshop.trust(&workshop.root);
        Ok(workshop)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A new key: `RSA:2048`, `RSA-PSS:2048`, `EC:P-256`, `DSA:2048`, `ED25519`.
    pub(super) fn key(&self, name: &str, kind: &str) -> Result<PathBuf> {
        let file = self.file(&format!("{name}.key"));
        if kind == "RSA:8192" {
            // Half a minute to make.
            fs::write(&file, include_bytes!("../../data/rsa8192.pem"))?;
            return Ok(file);
        }
        let (algorithm, size) = kind.split_once(':').unwrap_or((kind, ""));
        let mut command = Command::new("openssl");
        command.args(["genpkey", "-out"]).arg(&file);
        match algorithm {
            "EC" => command.args(["-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{size}")]),
            "RSA" | "RSA-PSS" => {
                command.args(["-algorithm", algorithm, "-pkeyopt", &format!("rsa_keygen_bits:{size}")])
            }
            "DSA" => {
                let parameters = self.file("dsa.parameters");
                if !parameters.exists() {
                    run(Command::new("openssl").args(["dsaparam", "-out"]).arg(&parameters).arg(size))?;
                }
                command.arg("-paramfile").arg(parameters)
            }
            other => command.args(["-algorithm", other]),
        };
        run(&mut command)?;
        Ok(file)
    }

    /// A certificate of this key, valid for ten years.
    pub(super) fn certificate(&self, order: &Order<'_>, key: &Path) -> Result<Pair> {
        let Order { name, extensions, options, issuer } = order;
        let (request, file) = (self.file(&format!("{name}.csr")), self.file(&format!("{name}.crt")));
        run(Command::new("openssl")
            .args(["req", "-new", "-subj", &format!("/CN={name}"), "-key"])
            .arg(key)
            .arg("-out")
            .arg(&request))?;
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-in"]).arg(&request).arg("-out").arg(&file);
        if !options.contains(&"-days") {
            command.args(["-days", "3650"]);
        }
        if !options.contains(&"-set_serial") {
            command.args(["-set_serial", &fastrand::u64(1..).to_string()]);
        }
        command.args(*options);
        match issuer {
            Some(issuer) => command.arg("-CA").arg(&issuer.certificate).arg("-CAkey").arg(&issuer.key),
            None => command.arg("-signkey").arg(key),
        };
        if !extensions.is_empty() {
            let config = self.file(&format!("{name}.cnf"));
            fs::write(&config, format!("[all]\n{extensions}\n"))?;
            command.args(["-extensions", "all", "-extfile"]).arg(config);
        }
        run(&mut command)?;
        Ok(Pair { certificate: file, key: key.to_owned() })
    }

    /// Both sides trust it from now on.
    pub(super) fn trust(&self, pair: &Pair) {
        self.trusted.borrow_mut().push(pair.certificate.clone());
    }

    /// A file with these certificates behind each other.
    pub(super) fn chain(&self, name: &str, certificates: &[&Path]) -> Result<PathBuf> {
        let mut all = Vec::new();
        for certificate in certificates {
            all.extend(fs::read(certificate)?);
        }
        let file = self.file(&format!("{name}.chain"));
        fs::write(&file, all)?;
        Ok(file)
    }

    pub(super) fn roots(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for certificate in &*self.trusted.borrow() {
            all.extend(fs::read(certificate)?);
        }
        Ok(all)
    }

    /// One case for each way of verification: an HTTPS exchange with an `s_server` of this pair and
    /// these options.
    pub(super) fn both(&self, name: &str, pair: &Pair, chain: Option<&Path>, options: &[&str]) -> Vec<Case> {
        [true, false]
            .into_iter()
            .map(|verify| {
                let word = if verify { "verified" } else { "unverified" };
                self.case(&format!("{word}/{name}"), pair, chain, options, verify)
            })
            .collect()
    }

    pub(super) fn case(
        &self,
        name: &str,
        pair: &Pair,
        chain: Option<&Path>,
        options: &[&str],
        verify: bool,
    ) -> Case {
        let mut arguments: Vec<String> =
            vec!["-www".into(), "-cert".into(), text(&pair.certificate), "-key".into(), text(&pair.key)];
        if let Some(chain) = chain {
            arguments.extend(["-cert_chain".into(), text(chain)]);
        }
        if !options.contains(&"-cipher") {
            arguments.extend(["-cipher".into(), "ALL:@SECLEVEL=0".into()]);
        }
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        Case::new(format!("matrix/{name}"), Server::Openssl(arguments.into()), check(verify))
    }

    /// The same with the server of Go.
    pub(super) fn go_case(&self, name: &str, pair: &Pair, options: &[&str], verify: bool) -> Case {
        let mut arguments: Vec<String> =
            vec!["-cert".into(), text(&pair.certificate), "-key".into(), text(&pair.key)];
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let server = Server::Program(text(&self.go_server), arguments.into());
        Case::new(format!("matrix/{name}"), server, check(verify))
    }
}

fn check(verify: bool) -> serde_json::Value {
    json!({"checker_type": "http", "secure": true, "tls_verify": verify, "expected_codes": [200]})
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Runs a command that must succeed.
pub(super) fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {errors}", output.status);
    Ok(output.stdout)
}
