//! The page: files that are part of the program, so that it asks nothing of any other server.
//!
//! The content security policy allows scripts, styles and requests of our own origin only, none of
//! them inline. With `require-trusted-types-for` a script that tried to make markup out of a text
//! fails, so that a name or an answer of a backend cannot become part of the page. The one policy
//! that is allowed, `hc-worker`, gives the address of the worker and nothing else.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, VARY,
};
use hyper::{Response, StatusCode};

use crate::answer::{self, Body};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types hc-worker";

/// Path, type and content.
type File = (&'static str, &'static str, &'static [u8]);

macro_rules! files {
    ($($name:literal: $kind:expr,)*) => {
        &[
            ("/", HTML, include_bytes!("../page/index.html")),
            $((concat!("/page/", $name), $kind, include_bytes!(concat!("../page/", $name))),)*
        ]
    };
}

const FILES: &[File] = files! {
    "style.css": CSS,
    "icon.svg": SVG,
    "main.js": JS,
    "dom.js": JS,
    "words.js": JS,
    "model.js": JS,
    "feed.js": JS,
    "events.js": JS,
    "worker.js": JS,
    "query.js": JS,
    "summary.js": JS,
    "list.js": JS,
    "check.js": JS,
    "heat.js": JS,
    "changes.js": JS,
    "overrides.js": JS,
    "checker.js": JS,
    "spark.js": JS,
};

/// A file, ready to be sent.
struct Ready {
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
    compressed: Bytes,
    tag: HeaderValue,
}

/// Compressed once, when the first is asked for: some milliseconds.
static READY: LazyLock<Vec<Ready>> = LazyLock::new(|| {
    let ready = |&(path, kind, content): &File| {
        // Without a random key, so that it is the same after a restart.
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        // Hexadecimal digits in quotes are a header.
        let tag = HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Ready { path, kind, content, compressed: answer::gzip(content, 9), tag }
    };
    FILES.iter().map(ready).collect()
});

/// The file at this path, if it is one of the page.
pub(crate) fn find(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let file = READY.iter().find(|file| file.path == path)?;
    let has_it = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/").as_bytes() == file.tag.as_bytes());
    let mut response = if has_it {
        answer::bytes(StatusCode::NOT_MODIFIED, file.kind, Bytes::new())
    } else if answer::takes_gzip(headers) {
        let mut response = answer::bytes(StatusCode::OK, file.kind, file.compressed.clone());
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        answer::bytes(StatusCode::OK, file.kind, file.content)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, file.tag.clone());
    // Kept, but asked for each time: a server of another version has other files.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_served_and_every_module_is_known() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let there: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
        let served: BTreeSet<String> = FILES
            .iter()
            .map(|(path, ..)| path.trim_start_matches("/page/").replace('/', "index.html"))
            .collect();
        assert_eq!(there, served);
        let html = std::str::from_utf8(FILES[0].2).unwrap();
        // The worker is fetched by itself, and one for all tabs.
        for (path, ..) in FILES[1..].iter().filter(|(path, ..)| *path != "/page/worker.js") {
            assert!(
                html.contains(&format!("\"{path}\"")),
                "{path} is fetched late: index.html does not name it"
            );
        }
    }

    #[test]
    fn nothing_makes_markup_of_a_text_or_asks_another_server() {
        for (path, _, content) in FILES {
            let text = std::str::from_utf8(content).unwrap();
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"]
            {
                assert!(!text.contains(word), "{path} has {word}");
            }
            let foreign = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !foreign.contains("http://") && !foreign.contains("https://"),
                "{path} names another server"
            );
            assert!(!text.contains(" style=") && !text.contains("<style"), "{path} has inline style");
        }
    }
}
