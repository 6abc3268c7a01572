//! The way of somebody who has never seen the program: from an empty Debian to a page on the wall, a
//! backend that breaks, an upgrade, and a machine without a trace of it. Then the same with Seesaw's
//! real engine in front.
//!
//! The page is opened once, in a real Chromium outside of the root, and stays open to the end, as on
//! a wall. Each station leaves a screenshot.

mod backends;
mod browser;
mod files;
mod installed;
mod seesaw;

use std::path::Path;

use anyhow::Result;

use self::browser::Browser;

/// Where everything is.
pub(super) struct Machine<'a> {
    /// The root into which the packages are installed. `/before` and `/now` in it have them.
    pub(super) root: &'a Path,
    /// The programs that do not ship: Seesaw's engine, and what stands in for its other parts.
    pub(super) bin: &'a Path,
    /// What drives the browser.
    pub(super) page_tests: &'a Path,
    /// Where the screenshots go.
    pub(super) shots: &'a Path,
}

/// Where the page is. The namespace has no other ports than ours.
const PAGE: &str = "127.0.0.1:9110";

/// Goes both ways.
pub(super) fn walk(machine: &Machine<'_>) -> Result<()> {
    let mut page = Browser::start(machine)?;
    files::walk(machine, &mut page)?;
    seesaw::walk(machine, &mut page)?;
    page.close()
}
