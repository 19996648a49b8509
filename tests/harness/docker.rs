//! A Docker Engine of the test's own, on a socket in its sandbox, with images that are made here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use uuid::Uuid;

use crate::{
    Finished, Sandbox, built, eventually, patience,
    process::{Process, children},
};

/// A shell and the usual small programs.
pub const SHELL: &str = "kitty/shell:1";

/// Made from scratch: one static program, `/busybox`, and nothing else.
pub const SCRATCH: &str = "kitty/scratch:1";

const USUAL: [&str; 11] =
    ["sh", "sleep", "cat", "nproc", "seq", "grep", "kill", "rm", "mkfifo", "mount", "umount"];

/// Debian's static build, see `tests/run`.
const BUSYBOX: &str = "/bin/busybox";

/// What an image of the project is made from: its files, and its programs without what only a debugger reads, which is
/// most of them.
pub fn lay_out_project(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let programs = folder.join("target/release");
    fs::create_dir_all(&programs).unwrap();
    for file in ["Dockerfile", ".dockerignore", "docker-compose.yml", "docs/suite.json"] {
        fs::copy(root.join(file), folder.join(Path::new(file).file_name().unwrap())).unwrap();
    }
    for program in ["kittyd", "kitty-agent", "kitty-guard", "kittyctl"] {
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(programs.join(program)).arg(built(program));
        assert!(strip.status().unwrap().success(), "{strip:?}");
    }
}

/// A running Engine without any network. Its containers are removed and it is ended when dropped.
pub struct Docker {
    folder: PathBuf,
    socket: PathBuf,
    parent: String,
    daemon: Option<Process>,
}

impl Docker {
    /// Starts it, and makes the images.
    ///
    /// # Panics
    /// It does not start; see `docker.err` in the sandbox's folder.
    pub async fn new(sandbox: &Sandbox) -> Self {
        let folder = sandbox.path().join("docker");
        fs::create_dir(&folder).unwrap();
        let mut docker = Self::of_others(folder.join("s"), folder);
        docker.start().await;
        docker.make_image(SCRATCH, &[], &[]);
        docker.make_image(SHELL, &USUAL, &[]);
        docker
    }

    /// An Engine that somebody else runs; a folder for what is needed meanwhile.
    pub fn of_others(socket: PathBuf, folder: PathBuf) -> Self {
        Self { folder, socket, parent: format!("/kitty-{}", Uuid::new_v4().simple()), daemon: None }
    }

    /// Makes an image of a shell and the shared libraries that a program of this machine needs.
    pub fn make_base(&self, name: &str, program: &Path) {
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        let words = text.split_whitespace().filter(|word| word.starts_with('/'));
        let libraries: Vec<_> = words.map(|word| Path::new(word.trim_end_matches(':'))).collect();
        self.make_image(name, &USUAL, &libraries);
    }

    /// Starts it again after [`Self::stop`].
    pub async fn start(&mut self) {
        let mut command = Command::new("dockerd");
        command
            .args(["--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .args(["--ip-forward=false", "--userland-proxy=false", "--oom-score-adjust", "0"])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", &self.parent])
            .args(["--shutdown-timeout", "2"])
            .arg("--host")
            .arg(self.address())
            .arg("--data-root")
            .arg(self.folder.join("data"))
            .arg("--exec-root")
            .arg(self.folder.join("run"))
            .arg("--pidfile")
            .arg(self.folder.join("pid"));
        let mut daemon = Process::start("dockerd", command, &self.folder);
        eventually("the Engine answers", async || {
            assert!(daemon.is_running(), "dockerd ended at its start:\n{}", daemon.stderr());
            (self.run(&["version"]).code == 0).then_some(())
        })
        .await;
        self.daemon = Some(daemon);
    }

    /// Ends the Engine in order, and with it its containers.
    pub async fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            daemon.ended().await;
        }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The command `docker …`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(self.address()).args(arguments).env("DOCKER_CONFIG", &self.folder);
        command
    }

    /// Runs `docker …`.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = self.command(arguments);
        let output = command.output().unwrap_or_else(|error| panic!("starting docker: {error}"));
        output.into()
    }

    /// The same; it must exit with 0. Gives what it printed.
    ///
    /// # Panics
    /// It does not.
    pub fn must(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments);
        assert_eq!(finished.code, 0, "docker {arguments:?}: {finished}");
        finished.stdout.trim().to_owned()
    }

    /// Starts a container of this name. Gives its id.
    pub fn container(&self, name: &str, options: &[&str], image: &str, command: &[&str]) -> String {
        let fixed = ["run", "--detach", "--network", "none", "--name", name];
        let all = [&fixed[..], options, &[image], command].concat();
        self.must(&all)
    }

    /// Something that `docker inspect` tells, by a Go template.
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.must(&["inspect", "--format", template, name])
    }

    /// The pid of a container's main process, as seen from here. 0: it does not run.
    pub fn pid(&self, name: &str) -> u32 {
        self.inspect(name, "{{.State.Pid}}").parse().unwrap()
    }

    /// Processor time that a container and all that was put into its cgroup have used.
    pub fn cpu_usage(&self, name: &str) -> Duration {
        let id = self.inspect(name, "{{.Id}}");
        let read = |file: &str| {
            self.cgroups().iter().find_map(|group| fs::read_to_string(group.join(&id).join(file)).ok())
        };
        if let Some(nanoseconds) = read("cpuacct.usage") {
            return Duration::from_nanos(nanoseconds.trim().parse().unwrap());
        }
        let stat = read("cpu.stat").unwrap();
        let microseconds = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        Duration::from_micros(microseconds.parse().unwrap())
    }

    /// Imports an image of the static program under its own name and these, and of files of this machine.
    fn make_image(&self, name: &str, links: &[&str], files: &[&Path]) {
        let tree = self.folder.join(name.replace(['/', ':'], "-"));
        fs::create_dir_all(tree.join("bin")).unwrap();
        for file in files {
            let place = tree.join(file.strip_prefix("/").unwrap());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(file, place).unwrap();
        }
        fs::copy(BUSYBOX, tree.join("busybox"))
            .unwrap_or_else(|error| panic!("{BUSYBOX}: {error}: tests/run installs busybox-static"));
        for link in links {
            std::os::unix::fs::symlink("/busybox", tree.join("bin").join(link)).unwrap();
        }
        let archive = self.folder.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(&tree);
        if links.is_empty() {
            tar.arg("busybox");
        } else {
            tar.arg(".");
        }
        assert!(tar.status().unwrap().success());
        self.must(&["import", &archive.to_string_lossy(), name]);
    }

    /// The cgroups of its containers, on every hierarchy.
    fn cgroups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        let parent = self.parent.trim_start_matches('/');
        hierarchies.chain([root.to_owned()]).map(|at| at.join(parent)).filter(|at| at.is_dir()).collect()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return self.cgroups().iter().for_each(|at| remove(at));
        };
        let listed = self.run(&["ps", "--all", "--quiet"]).stdout;
        let ids: Vec<_> = listed.split_whitespace().collect();
        if !ids.is_empty() {
            self.run(&[&["rm", "--force"], &ids[..]].concat());
        }
        let containerd = children(daemon.pid());
        daemon.signal(Signal::TERM);
        let began = Instant::now();
        while daemon.is_running() && began.elapsed() < patience() {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(daemon);
        // Only there if the Engine had to be killed.
        for pid in containerd.into_iter().filter_map(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
        {
            let _gone_already = rustix::process::kill_process(pid, Signal::KILL);
        }
        self.cgroups().iter().for_each(|at| remove(at));
    }
}

/// Removes an empty cgroup with those below it.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _not_there = fs::remove_dir(group);
}
