use std::path::Path;

use super::*;

fn config(globs: &[&str]) -> FilesConfig {
    let files = globs.iter().map(|glob| (*glob).to_owned()).collect();
    FilesConfig { files, limits: Limits::default(), names: NamesConfig::default(), watch: false }
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
    let loaded = load(&config).unwrap();
    let resolver = Resolver::with_servers(&["127.0.0.1:9".parse().unwrap()]).unwrap();
    let (mut source, reloads, _following) =
        FileSource::start(&config, loaded, resolver, CancellationToken::new()).unwrap();
    assert_eq!(source.next().await.unwrap().metadata.len(), 2);

    // Wrong: nothing comes of it but the answer.
    std::fs::write(&path, "[[check]]\nnam = \"x\"\n").unwrap();
    let asking = reloads.clone();
    let asked = tokio::spawn(async move { asking.reload().await });
    tokio::select! {
        proposal = source.next() => panic!("{proposal:?}"),
        answer = asked => {
            let words = answer.unwrap().unwrap_err().to_string();
            assert!(words.contains("a.toml:2:1") && words.contains("the old checks stand"), "{words}");
        }
    }

    let started = reloads.stats();
    assert_eq!((started.applied, started.wrong, started.short, started.is_wrong), (0, 1, 0, true));
    write(&path, &[check("b", 2), check("c", 3)]);
    let figures = reloads.clone();
    let asked = tokio::spawn(async move { reloads.reload().await });
    let proposal = source.next().await.unwrap();
    assert_eq!(proposal.metadata.len(), 2);
    proposal.reply.applied(Vec::new());
    assert_eq!(asked.await.unwrap().unwrap(), "1 checks added, 1 removed, 0 changed, 1 as before");
    let stats = figures.stats();
    assert_eq!((stats.applied, stats.wrong, stats.short, stats.is_wrong), (1, 1, 0, false));
    assert!(stats.last_success >= started.last_success);
}

fn watched(dir: &Path) -> FilesConfig {
    FilesConfig { watch: true, ..config(&[dir.join("*.toml").to_str().unwrap()]) }
}

#[tokio::test]
async fn a_change_is_read_once_and_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a.toml"), &[check("a", 1)]);
    let config = watched(dir.path());
    let resolver = Resolver::with_servers(&["127.0.0.1:9".parse().unwrap()]).unwrap();
    let (mut source, _reloads, _following) =
        FileSource::start(&config, load(&config).unwrap(), resolver, CancellationToken::new()).unwrap();
    assert_eq!(source.next().await.unwrap().metadata.len(), 1);
    write(&dir.path().join("b.toml"), &[check("b", 2)]);
    assert_eq!(source.next().await.unwrap().metadata.len(), 2);
    std::fs::remove_file(dir.path().join("b.toml")).unwrap();
    assert_eq!(source.next().await.unwrap().metadata.len(), 1);
}

/// Files that secrets are in are looked at like those of checks.
#[test]
fn what_is_read_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "[[check]]\nname = 's'\ntarget = '192.0.2.1'\nradius = { username = 'u', password_file = 'p', secret_file = 'p' }\n";
    write(&dir.path().join("a.toml"), &[check("a", 1), secret.to_owned()]);
    std::fs::write(dir.path().join("p"), "secret").unwrap();
    let loaded = load(&watched(dir.path())).unwrap();
    let files: Vec<_> = loaded.files().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(files, ["a.toml", "p"]);
}
