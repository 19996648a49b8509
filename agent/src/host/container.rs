//! Containers, as the names of cgroups show them, whatever runtime made them.

use std::{fs, io};

use super::membership;

/// Hexadecimal digits of a container's id, which all runtimes make the same way.
const DIGITS: usize = 64;

/// The id of the container whose cgroup bears that name: the id alone, or `RUNTIME-ID.scope` where systemd makes them.
pub fn id(cgroup: &str) -> &str {
    let name = cgroup.strip_suffix(".scope").unwrap_or(cgroup);
    name.rsplit('-').next().unwrap_or(name)
}

/// The name of the cgroup of the container that a process runs in. `None`: in none that can be seen from here.
///
/// # Errors
/// It is there and cannot be looked at.
pub fn of(pid: u32) -> io::Result<Option<String>> {
    membership::name_of(pid, |cgroup| {
        let id = id(cgroup);
        id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Takes a process out of its container's cgroups to the uppermost ones: when a container ends, its runtime ends what
/// it finds there. Does nothing for one that is in no container.
///
/// # Errors
/// It is still in some of them.
pub fn leave(pid: u32) -> io::Result<()> {
    let Some(container) = of(pid)? else { return Ok(()) };
    let mut refused = None;
    // Where one refuses, it may be another by which the runtime finds what it ends.
    for one in membership::of(pid)? {
        if one.folder.iter().any(|name| name == container.as_str()) {
            let left = fs::write(one.root.join("cgroup.procs"), pid.to_string());
            refused = refused.or(left.err());
        }
    }
    let not_mounted = || io::Error::other("a hierarchy that shows it is not mounted");
    if of(pid)?.is_none() { Ok(()) } else { Err(refused.unwrap_or_else(not_mounted)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_the_name_of_its_cgroup_whoever_made_that() {
        assert_eq!(id("ab12"), "ab12");
        assert_eq!(id("cri-containerd-ab12.scope"), "ab12");
        assert_ne!(id("kubepods-pod6f_1.slice"), "ab12");
    }
}
