use std::path::Path;

use super::*;

fn config(globs: &[&str]) -> FilesConfig {
    let files = globs.iter().map(|glob| (*glob).to_owned()).collect();
    FilesConfig { files, limits: Limits::default(), names: NamesConfig::default() }
}

#[test]
fn directories_of_globs() {
    let config = config(&["/etc/hc/checks.toml", "/etc/hc/checks.d/*.toml", "/srv/*/checks/a.toml"]);
    assert_eq!(directories(&config), ["/etc/hc", "/etc/hc/checks.d", "/srv"].map(PathBuf::from));
}

fn check(name: &str, port: u16) -> String {
    format!("[[check]]\nname = \"{name}\"\ntarget = \"192.0.2.1:{port}\"\ntcp = {{}}\n")
}

fn write(path: &Path, checks: &[String]) {
    std::fs::write(path, format!("[defaults]\ninterval = \"5s\"\n{}", checks.concat())).unwrap();
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the task ends with the runtime of the test")]
async fn files_are_read_again_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    write(&path, &[check("a", 1), check("b", 2)]);
    let config = config(&[dir.path().join("*.toml").to_str().unwrap()]);
    let checks = load(&config).unwrap();
    let resolver = Resolver::with_servers(&["127.0.0.1:9".parse().unwrap()]).unwrap();
    let (mut source, reloads, _following) =
        FileSource::start(&config, checks, resolver, CancellationToken::new()).unwrap();
    assert_eq!(source.next().await.unwrap().metadata.len(), 2);

    // Wrong: nothing comes of it but the answer.
    std::fs::write(&path, "[[check]]\nnam = \"x\"\n").unwrap();
    let asking = reloads.clone();
    let asked = tokio::spawn(async move { asking.reload().await });
    tokio::select! {
        proposal = source.next() => panic!("{proposal:?}"),
        answer = asked => {
            let words = answer.unwrap().unwrap_err();
            assert!(words.contains("a.toml:2:1") && words.contains("the old checks stand"), "{words}");
        }
    }

    write(&path, &[check("b", 2), check("c", 3)]);
    let asked = tokio::spawn(async move { reloads.reload().await });
    let proposal = source.next().await.unwrap();
    assert_eq!(proposal.metadata.len(), 2);
    proposal.reply.applied(Vec::new());
    assert_eq!(asked.await.unwrap().unwrap(), "1 checks added, 1 removed, 0 changed, 1 as before");
}
