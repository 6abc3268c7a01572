//! Capabilities (capabilities(7)).

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// Raw sockets for ICMP, and socket marks.
const NEEDED: [Capability; 2] = [Capability::CAP_NET_RAW, Capability::CAP_NET_ADMIN];

/// Drops what a program that is started gets although its file has no capabilities
/// (capabilities(7), `execve`).
pub(crate) fn pass_on_none() -> Result<(), CapsError> {
    // Where the kernel has no ambient set, there is nothing to drop in it.
    if caps::runtime::ambient_set_supported().is_ok() {
        caps::clear(None, CapSet::Ambient)?;
    }
    caps::clear(None, CapSet::Inheritable)
}

/// Drops all capabilities but the needed ones, and says which are left. `chown`: whether
/// `CAP_CHOWN` is needed.
pub(crate) fn keep_needed(chown: bool) -> Result<Vec<String>, CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = NEEDED
        .into_iter()
        .chain(chown.then_some(Capability::CAP_CHOWN))
        .filter(|needed| permitted.contains(needed))
        .collect();
    // The bounding set can only be lowered by a process that may set capabilities; for another one
    // it guards nothing, since nothing is executed from here on.
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    let mut names: Vec<_> = kept.iter().map(ToString::to_string).collect();
    names.sort();
    Ok(names)
}
