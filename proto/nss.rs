//! Users and groups of this host by the name service switch (nsswitch.conf(5)), so that those of LDAP, sssd or
//! `DynamicUser=` are known too. May wait for a server of the network: not to be called where nobody may wait.
#![expect(unsafe_code, reason = "getpwnam_r and its like have no safe interface")]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    fs, io, mem,
    process::{Command, Stdio},
    ptr,
};

use crate::procfs::lines;

/// The largest entry that is taken.
const MOST: usize = 1 << 20;

/// A user of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The name.
    pub name: Vec<u8>,
}

/// A group of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The number.
    pub gid: u32,
    /// Names of its members, without those whose primary group it is.
    pub members: Vec<Vec<u8>>,
}

/// The user of that name. `None`: there is none.
///
/// # Errors
/// A source of names does not answer.
pub fn user(name: &str) -> io::Result<Option<User>> {
    let Ok(text) = CString::new(name) else { return Ok(None) };
    // SAFETY: the pointers are valid for the call, and the entry is read before its buffer goes.
    let found = entry(
        |entry, buffer, size, found| unsafe { libc::getpwnam_r(text.as_ptr(), entry, buffer, size, found) },
        |entry: &libc::passwd| unsafe { user_of(entry) },
    )?;
    found.map_or_else(|| by_getent("passwd", name, parse_user), |user| Ok(Some(user)))
}

/// The user of that number. `None`: there is none.
///
/// # Errors
/// See [`user`].
pub fn user_of_id(uid: u32) -> io::Result<Option<User>> {
    // SAFETY: as above.
    let found = entry(
        |entry, buffer, size, found| unsafe { libc::getpwuid_r(uid, entry, buffer, size, found) },
        |entry: &libc::passwd| unsafe { user_of(entry) },
    )?;
    found.map_or_else(|| by_getent("passwd", &uid.to_string(), parse_user), |user| Ok(Some(user)))
}

/// The group of that name. `None`: there is none.
///
/// # Errors
/// See [`user`].
pub fn group(name: &str) -> io::Result<Option<Group>> {
    let Ok(text) = CString::new(name) else { return Ok(None) };
    // SAFETY: as above.
    let found = entry(
        |entry, buffer, size, found| unsafe { libc::getgrnam_r(text.as_ptr(), entry, buffer, size, found) },
        |entry: &libc::group| unsafe { group_of(entry) },
    )?;
    found.map_or_else(|| by_getent("group", name, parse_group), |group| Ok(Some(group)))
}

/// The group of that number. `None`: there is none.
///
/// # Errors
/// See [`user`].
pub fn group_of_id(gid: u32) -> io::Result<Option<Group>> {
    // SAFETY: as above.
    let found = entry(
        |entry, buffer, size, found| unsafe { libc::getgrgid_r(gid, entry, buffer, size, found) },
        |entry: &libc::group| unsafe { group_of(entry) },
    )?;
    found.map_or_else(|| by_getent("group", &gid.to_string(), parse_group), |group| Ok(Some(group)))
}

/// Whether a group is its owner's alone: the user's primary one, with no other member. That somebody else has it as
/// primary group is seen for the users of this host only, for a network's cannot be listed.
///
/// # Errors
/// See [`user`].
pub fn is_private(gid: u32, owner: u32) -> io::Result<bool> {
    let Some(user) = user_of_id(owner)?.filter(|user| user.gid == gid) else { return Ok(false) };
    let Some(group) = group_of_id(gid)? else { return Ok(false) };
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    let shares = lines(&passwd).filter_map(parse_user).any(|other| other.gid == gid && other.uid != owner);
    Ok(!shares && group.members.iter().all(|member| *member == user.name))
}

/// Calls a function of the `_r` kind with a buffer that is large enough.
fn entry<E, T>(
    call: impl Fn(*mut E, *mut c_char, usize, *mut *mut E) -> c_int,
    read: impl Fn(&E) -> T,
) -> io::Result<Option<T>> {
    let mut buffer = vec![0 as c_char; 1024];
    loop {
        let mut entry = mem::MaybeUninit::<E>::uninit();
        let mut found = ptr::null_mut();
        match call(entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found) {
            // SAFETY: not null, it is `entry`, which the call has filled.
            0 => return Ok(unsafe { found.as_ref() }.map(read)),
            libc::ERANGE if buffer.len() < MOST => buffer.resize(buffer.len() * 4, 0),
            libc::EINTR => {}
            // What getpwnam(3) says for a name that is not there, beside 0.
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// # Safety
/// Its strings are valid.
unsafe fn user_of(entry: &libc::passwd) -> User {
    // SAFETY: promised by the caller.
    let name = unsafe { CStr::from_ptr(entry.pw_name) }.to_bytes().to_vec();
    User { uid: entry.pw_uid, gid: entry.pw_gid, name }
}

/// # Safety
/// Its strings are valid, and its list ends with a null pointer.
unsafe fn group_of(entry: &libc::group) -> Group {
    let mut members = Vec::new();
    let mut next = entry.gr_mem;
    // SAFETY: promised by the caller.
    unsafe {
        while !next.is_null() && !(*next).is_null() {
            members.push(CStr::from_ptr(*next).to_bytes().to_vec());
            next = next.add(1);
        }
    }
    Group { gid: entry.gr_gid, members }
}

/// A C library without a name service switch (a static build) leaves the question to the host's own program.
fn by_getent<T>(database: &str, key: &str, parse: impl Fn(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
    if cfg!(target_env = "gnu") || key.starts_with('-') {
        return Ok(None);
    }
    let asked =
        Command::new("getent").args([database, key]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    match asked {
        Ok(answer) => Ok(lines(&answer.stdout).find_map(parse)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A line of passwd(5).
fn parse_user(line: &[u8]) -> Option<User> {
    let fields: Vec<_> = line.split(|byte| *byte == b':').collect();
    let number = |index: usize| str::from_utf8(fields.get(index)?).ok()?.parse().ok();
    Some(User { uid: number(2)?, gid: number(3)?, name: fields[0].to_vec() })
}

/// A line of group(5).
fn parse_group(line: &[u8]) -> Option<Group> {
    let fields: Vec<_> = line.split(|byte| *byte == b':').collect();
    let gid = str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
    let members = fields.get(3)?.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    Some(Group { gid, members: members.map(<[u8]>::to_vec).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_by_number() {
        let root = user("root").unwrap().unwrap();
        assert_eq!((root.uid, &*root.name), (0, &b"root"[..]));
        assert_eq!(user_of_id(0).unwrap(), Some(root));
        assert_eq!(group("root").unwrap(), group_of_id(0).unwrap());
        for nobody in ["no-such-name", "", "a\0b", "-x"] {
            assert_eq!((user(nobody).unwrap(), group(nobody).unwrap()), (None, None), "{nobody:?}");
        }
    }

    #[test]
    fn lines_are_read_whatever_bytes_they_hold() {
        let user = parse_user(b"corp\xc4:x:70001:70002::/:/bin/sh").unwrap();
        assert_eq!(user, User { uid: 70001, gid: 70002, name: b"corp\xc4".to_vec() });
        let group = parse_group(b"web:x:33:a,b").unwrap();
        assert_eq!(group, Group { gid: 33, members: vec![b"a".to_vec(), b"b".to_vec()] });
        assert_eq!(parse_group(b"web:x:33:").unwrap().members.len(), 0);
        assert_eq!((parse_user(b"cut:x:1"), parse_group(b"")), (None, None));
    }
}
