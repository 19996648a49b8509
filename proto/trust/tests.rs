use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

const OWN: u32 = 1000;
const SERVER: (u32, u32) = (990, 991);
const OTHER: u32 = 65534;

fn folder(uid: u32, gid: u32, mode: u32) -> Place {
    Place { path: "/x".into(), kind: Kind::Folder, uid, gid, mode }
}

fn of(kind: Kind, uid: u32, mode: u32) -> Place {
    Place { kind, ..folder(uid, uid, mode) }
}

/// A group of the owner's number is the owner's alone.
fn judged(service: bool, way: &[Place]) -> Result<(), String> {
    let trust = Trust { own: OWN, service: service.then_some(SERVER) };
    trust.judge(way, false, |group, owner| Ok(group == owner)).map_err(|why| match why {
        Why::Distrust(what) => what,
        Why::Unknown(error) => error.to_string(),
    })
}

#[test]
fn a_path_is_trusted_by_owners_and_modes_all_the_way() {
    let root = || folder(0, 0, 0o755);
    let tmp = || folder(0, 0, 0o1777);
    let socket = |uid| of(Kind::Socket, uid, 0o666);
    for (trusted, service, way) in [
        (true, false, vec![root(), socket(OWN)]),
        (true, false, vec![root(), socket(0)]),
        (false, false, vec![root(), socket(OTHER)]),
        (true, false, vec![root(), tmp(), folder(OWN, OWN, 0o700), socket(OWN)]),
        (false, false, vec![root(), tmp(), folder(OTHER, OTHER, 0o755), socket(OWN)]),
        (true, false, vec![root(), tmp(), socket(OWN)]),
        (false, false, vec![root(), folder(0, 0, 0o777), socket(OWN)]),
        (false, false, vec![root(), folder(OWN, OWN, 0o777), socket(OWN)]),
        // Others can put files into it, though they can replace none.
        (false, false, vec![root(), tmp()]),
        (true, false, vec![root(), folder(OWN, OWN, 0o775), socket(OWN)]),
        (false, false, vec![root(), folder(OWN, 50, 0o775), socket(OWN)]),
        (false, false, vec![root(), of(Kind::Link, OTHER, 0o777), socket(OWN)]),
        (true, false, vec![root(), of(Kind::Link, OWN, 0o777), socket(OWN)]),
        (true, false, vec![root(), of(Kind::File, OWN, 0o644)]),
        (false, false, vec![root(), of(Kind::File, OWN, 0o666)]),
        (false, false, vec![root(), socket(SERVER.0)]),
        (true, true, vec![root(), folder(0, SERVER.1, 0o775), socket(SERVER.0)]),
        (false, false, vec![root(), folder(0, SERVER.1, 0o775), socket(0)]),
        (false, true, vec![root(), folder(0, SERVER.1, 0o777), socket(SERVER.0)]),
    ] {
        assert_eq!(judged(service, &way).is_ok(), trusted, "{way:?}");
    }
}

#[test]
fn a_refusal_names_the_place_and_the_command_that_mends_it() {
    let path = |mode, gid| Place { path: "/srv/kitty".into(), ..folder(OWN, gid, mode) };
    assert!(judged(false, &[path(0o775, 50)]).unwrap_err().contains("chmod g-w /srv/kitty"));
    assert!(judged(false, &[path(0o757, OWN)]).unwrap_err().contains("chmod o-w /srv/kitty"));
    assert!(judged(false, &[of(Kind::File, OTHER, 0o600)]).unwrap_err().contains("uid 65534"));
}

#[test]
fn links_are_followed_and_looked_at_themselves() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/file"), "").unwrap();
    symlink("../real/./file", at("real/relative")).unwrap();
    symlink(at("real"), at("link")).unwrap();
    symlink("loop", at("loop")).unwrap();
    let trust = Trust::own();
    trust.check(&at("link/relative")).unwrap();
    assert_eq!(way(&at("link/relative")).unwrap().last().unwrap().path, at("real/file"));
    assert!(way(&at("loop")).is_err());
    assert_eq!(trust.check(&at("none")).unwrap_err().code, Code::CannotLook);
    trust.check_if_there(&at("none/deep")).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(at("link"), Some(OTHER), None).unwrap();
        assert_eq!(trust.check(&at("link/file")).unwrap_err().code, Code::Untrusted);
        chown(at("real/file"), Some(OTHER), None).unwrap();
        assert_eq!(trust.check_folder(&at("real")).unwrap_err().code, Code::Untrusted);
    }
}

#[test]
fn a_file_is_replaced_and_what_a_link_points_to_is_not() {
    let place = tempfile::tempdir().unwrap();
    let (victim, path) = (place.path().join("victim"), place.path().join("file"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &path).unwrap();
    symlink(&victim, place.path().join("file.new")).unwrap();
    replace(&path, b"new").unwrap();
    assert_eq!(
        (fs::read(&victim).unwrap(), fs::read(&path).unwrap()),
        (b"precious".to_vec(), b"new".to_vec())
    );
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    assert!(private().write(true).create(true).truncate(true).open(&path).is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}
