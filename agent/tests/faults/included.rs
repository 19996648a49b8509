//! The scripts that come with the server: each for its effect, and for its end.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use chaos_kitty::{
    Code,
    script::Header,
    v1::{self, ScriptResult, action::Kind, action_result},
};
use chaos_kitty_agent::platform::Subject;
use chaos_kitty_guard::Process;

use crate::{
    cgroup::Cgroup,
    driver::{self, Held, Target, action, eventually, start},
};

fn content(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/src/action/scripts");
    fs::read_to_string(PathBuf::from(folder).join(name)).unwrap()
}

fn included(name: &str) -> v1::Action {
    let order = v1::RunScript { name: name.to_owned(), ..driver::script_as_it_is(&content(name), &[]) };
    action(Kind::Script(order), Duration::from_secs(600))
}

fn figures(kind: action_result::Kind) -> ScriptResult {
    match kind {
        action_result::Kind::Script(figures) => figures,
        other => panic!("{other:?}"),
    }
}

/// In force, and it said so. It ends with the target, or the other way round: put back first.
struct Running {
    held: Held,
    subject: Subject,
    name: &'static str,
}

impl Running {
    async fn start(name: &'static str, subject: Subject, said: &str) -> Self {
        let held = start(&included(name), &subject).await.unwrap();
        let running = Self { held, subject, name };
        eventually(&format!("{name} says {said:?}"), || running.output().contains(said));
        running
    }

    fn output(&self) -> String {
        figures(self.held.figures()).output
    }

    /// Its health check, by hand.
    fn is_well(&self) -> bool {
        let header = Header::parse(self.name, content(self.name).as_bytes()).unwrap();
        inside(&self.subject, &["sh", "-c", &header.remedy.unwrap().health_check]).status.success()
    }

    async fn end(self) {
        let folder = driver::cgroup(&self.held);
        self.held.revert().await;
        assert!(!folder.exists());
    }
}

/// Runs a program in the mount and network namespaces of a target.
fn inside(subject: &Subject, argv: &[&str]) -> Output {
    let pid = subject.main.unwrap().pid.to_string();
    Command::new("nsenter").args(["--target", &pid, "--mount", "--net"]).args(argv).output().unwrap()
}

fn works_inside(subject: &Subject, argv: &[&str]) -> bool {
    inside(subject, argv).status.success()
}

/// A target with these namespaces of its own, once `setup` was done in them.
fn apart(namespaces: &[&str], setup: &str) -> (Target, Subject) {
    let ready = tempfile::NamedTempFile::new().unwrap();
    let text = format!("{setup} && echo ready >{} && exec sleep 600", ready.path().display());
    let target = Target::start(Command::new("unshare").args(namespaces).args(["sh", "-c", &text]));
    eventually("the target is set up", || !fs::read(ready.path()).unwrap().is_empty());
    let subject = target.subject();
    (target, subject)
}

fn with_disk(megabytes: u64) -> (Target, Subject, PathBuf) {
    let setup = format!("mount -t tmpfs -o size={megabytes}m kitty /var/tmp");
    let (target, subject) = apart(&["--mount"], &setup);
    let folder = PathBuf::from(format!("/proc/{}/root/var/tmp", target.0.id()));
    (target, subject, folder)
}

fn processor_time(process: Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(11).map_or(0, |ticks| ticks.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_burn_burns() {
    let target = Target::sleeper();
    let running = Running::start("cpuBurn.sh", target.subject(), "").await;
    let members = || driver::members(&running.held);
    let burning = || members().into_iter().filter(|process| processor_time(*process) > 2).count();
    let cores = std::thread::available_parallelism().unwrap().get();
    eventually("each core is burnt", || burning() >= cores);
    let all = members();
    running.end().await;
    assert!(all.iter().all(Process::has_ended) && !target.process().has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn burn_io_writes_again_and_again_and_takes_its_file_with_it() {
    let (_target, subject, disk) = with_disk(32);
    let running = Running::start("burnIO.sh", subject, "writing /var/tmp/").await;
    let folder = || fs::read_dir(&disk).unwrap().flatten().next();
    let file = || fs::metadata(folder()?.path().join("zeros")).ok();
    let written = || file().map(|file| (file.mtime(), file.mtime_nsec()));
    eventually("it has its size", || file().is_some_and(|file| file.len() == 16 << 20));
    let first = written();
    eventually("it is written again", || written() != first);
    assert_eq!(file().unwrap().len(), 16 << 20);
    running.end().await;
    assert!(folder().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn fill_disk_leaves_no_room_and_gives_it_back() {
    let (_target, subject, disk) = with_disk(8);
    let running = Running::start("fillDisk.sh", subject, "filled /var/tmp/").await;
    let refused = fs::File::create(disk.join("more")).and_then(|mut file| file.write_all(&[1; 4096]));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    running.end().await;
    fs::write(disk.join("more"), vec![1; 7 << 20]).unwrap();
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fork_bomb_uses_up_the_targets_processes_and_stays_there() {
    let cgroup = Cgroup::with("pids");
    cgroup.set(("pids.max", "60"), ("pids.max", "60"));
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let running = Running::start("forkBomb.sh", target.subject(), "").await;
    let count =
        || fs::read_to_string(cgroup.folder.join("pids.current")).unwrap().trim().parse::<u32>().unwrap();
    for _ in 0..3 {
        eventually("there is room for no more", || count() >= 58);
    }
    running.end().await;
    eventually("only the target is left", || count() == 1);
    assert!(!target.process().has_ended());
    drop(target);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_take_the_hosts_is_refused_before_anything_runs() {
    let target = Target::sleeper();
    let refused = [
        ("fillDisk.sh", target.subject(), "disk"),
        ("fillDisk.sh", driver::host(), "disk"),
        ("forkBomb.sh", driver::host(), "process limit"),
        ("memoryConsumer.sh", driver::host(), "memory limit"),
    ];
    for (name, subject, what) in refused {
        let problem = start(&included(name), &subject).await.err().unwrap();
        assert_eq!(problem.code, Code::NeedsOwn, "{problem}");
        assert!(problem.message.contains(&format!("has no {what} of its own")), "{problem}");
    }
    let own = "#!/bin/sh\n# Needs own: disk\ntouch /var/tmp/kitty-own-was-here\n";
    let subject =
        Subject { target: v1::Target { cattle: true, ..target.subject().target }, ..target.subject() };
    let action = action(Kind::Script(driver::script(own, &[])), Duration::from_secs(5));
    assert_eq!(start(&action, &subject).await.err().unwrap().code, Code::NeedsOwn, "a user's own script");
    assert!(!PathBuf::from("/var/tmp/kitty-own-was-here").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_consumer_takes_what_the_limit_leaves_and_no_more() {
    let cgroup = Cgroup::with("memory");
    let limit = "67108864";
    cgroup.set(("memory.limit_in_bytes", limit), ("memory.max", limit));
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let running = Running::start("memoryConsumer.sh", target.subject(), "holding").await;
    let used = || {
        let files = ["memory.usage_in_bytes", "memory.current"].map(|file| cgroup.folder.join(file));
        let text = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap();
        text.trim().parse::<u64>().unwrap()
    };
    let members = driver::members(&running.held);
    assert!((48 << 20..64 << 20).contains(&used()), "{} bytes, {}", used(), running.output());
    assert!(!target.process().has_ended());
    running.end().await;
    assert!(members.iter().all(Process::has_ended) && used() < 32 << 20, "{} bytes", used());
    drop(target);
}

/// With a way to other hosts that leads nowhere, but is a way.
fn with_network() -> (Target, Subject) {
    let setup = "ip link set lo up && ip link add kitty0 type veth peer name kitty1 && \
        ip addr add 192.0.2.1/30 dev kitty0 && ip link set kitty0 up && ip link set kitty1 up && \
        ip route add default via 192.0.2.2";
    apart(&["--net", "--mount"], setup)
}

#[tokio::test(flavor = "multi_thread")]
async fn null_route_leads_to_no_other_host_and_the_routes_are_as_before() {
    let (_target, subject) = with_network();
    let routes = |to: &str| works_inside(&subject, &["ip", "route", "get", to]);
    let rules = || inside(&subject, &["sh", "-c", "ip -4 rule; ip -6 rule; ip route"]).stdout;
    let before = rules();
    assert!(routes("198.51.100.7") && routes("192.0.2.2"));
    let running = Running::start("nullRoute.sh", subject.clone(), "leads nowhere").await;
    assert!(!routes("198.51.100.7") && !routes("192.0.2.2") && routes("127.0.0.1"));
    assert!(!running.is_well());
    running.end().await;
    assert_eq!(String::from_utf8(rules()), String::from_utf8(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_block_leads_to_no_name_server_and_to_everything_else() {
    let (_target, subject) = with_network();
    let asks = |protocol: &str, port: &str| {
        works_inside(&subject, &["ip", "route", "get", "198.51.100.7", "ipproto", protocol, "dport", port])
    };
    assert!(asks("udp", "53") && asks("tcp", "53"));
    let running = Running::start("dnsBlock.sh", subject.clone(), "leads nowhere").await;
    assert!(!asks("udp", "53") && !asks("tcp", "53") && asks("udp", "123") && asks("tcp", "443"));
    assert!(!running.is_well());
    running.end().await;
    assert!(asks("udp", "53") && asks("tcp", "53"));
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_the_network_are_refused_where_the_agents_own_would_be_hit() {
    let target = Target::sleeper();
    for name in ["nullRoute.sh", "dnsBlock.sh"] {
        let refused = start(&included(name), &target.subject()).await.err().unwrap();
        assert_eq!(refused.code, Code::Unsupported, "{refused}");
        let host = start(&included(name), &driver::host()).await.err().unwrap();
        assert_eq!(host.code, Code::Unsupported, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starve_random_number_generator_lets_readers_wait_and_then_go_on() {
    let (_target, subject) = apart(&["--mount"], "true");
    let reads = || works_inside(&subject, &["timeout", "0.5", "head", "-c", "1", "/dev/random"]);
    assert!(reads());
    let running = Running::start("starveRandomNumberGenerator.sh", subject.clone(), "waits").await;
    assert!(!reads() && !running.is_well());
    let mounts = || fs::read_to_string(format!("/proc/{}/mounts", subject.main.unwrap().pid)).unwrap();
    assert!(mounts().contains(" /dev/random "));
    running.end().await;
    assert!(reads() && !mounts().contains(" /dev/random "));
}

#[tokio::test(flavor = "multi_thread")]
async fn starve_random_number_generator_says_where_it_has_no_effect() {
    let target = Target::sleeper();
    let (_shared, shared) = apart(&["--mount", "--propagation", "shared"], "true");
    for subject in [target.subject(), shared] {
        let refused = start(&included("starveRandomNumberGenerator.sh"), &subject).await.err().unwrap();
        assert!(refused.code == Code::Unsupported && refused.message.contains("no effect here"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terminate_process_ends_also_what_is_process_1_inside() {
    let inner = "--pid --fork --kill-child --mount-proc".split(' ').collect::<Vec<_>>();
    let outer = Target::start(Command::new("unshare").args(inner).args(["sleep", "600"]));
    let children = || chaos_kitty_agent::host::process::tree(outer.process()).unwrap();
    eventually("process 1 sleeps", || {
        children().get(1).is_some_and(|child| {
            chaos_kitty_agent::host::process::name(child.pid).unwrap().unwrap() == b"sleep"
        })
    });
    let main = children()[1];
    let mut subject = driver::subject(main);
    let pet = start(&included("terminateProcess.sh"), &subject).await.err().unwrap();
    assert_eq!(pet.code, Code::NotCattle, "{pet}");
    subject.target.cattle = true;
    let mut held = start(&included("terminateProcess.sh"), &subject).await.unwrap();
    // TERM does nothing to it, so KILL follows.
    held.fault.over().await.unwrap();
    assert!(main.has_ended());
    let done = figures(held.revert().await);
    assert!(done.output.contains("KILL"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn terminate_process_asks_first() {
    let target = Target::sleeper();
    let mut subject = target.subject();
    subject.target.cattle = true;
    let mut held = start(&included("terminateProcess.sh"), &subject).await.unwrap();
    held.fault.over().await.unwrap();
    assert!(target.process().has_ended());
    let done = figures(held.revert().await);
    assert_eq!((done.exit_code, done.output.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_refuses_nothing_and_is_named_in_the_evidence() {
    let target = Target::sleeper();
    let subject =
        Subject { target: v1::Target { cattle: true, ..target.subject().target }, ..target.subject() };
    let run = |text: &str| action(Kind::Script(driver::script(text, &[])), Duration::from_secs(30));
    let guessed = |held: &Held| held.evidence.iter().find(|seen| seen.what == "perhaps missing").cloned();
    // Its first words are programs in no language.
    let other = start(&run("#!/bin/cat\n# Description: no shell\nimport time\n"), &subject).await.unwrap();
    assert_eq!(guessed(&other), None);
    other.revert().await;
    let shell = start(&run("#!/bin/sh\nkitty-no-such >/dev/null 2>&1\nsleep 5\n"), &subject).await.unwrap();
    let seen = guessed(&shell).unwrap();
    assert!(seen.value.contains("\"# Dependencies: kitty-no-such\""), "{seen:?}");
    shell.revert().await;
    let named = run("#!/bin/sh\n# Dependencies: kitty-no-such\n");
    assert_eq!(start(&named, &subject).await.err().unwrap().code, Code::MissingDependency);
}
