//! What README says of `docker-compose.yml`, on an Engine of the test's own.

use std::{
    env,
    fs::File,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

use chaos_kitty_tests::{
    Finished, Sandbox, built,
    docker::{Docker, lay_out_project},
    eventually,
};

const BASE: &str = "kitty/base:1";

/// The project's files as they are, and its programs.
struct Project<'a> {
    docker: &'a Docker,
    folder: PathBuf,
}

impl<'a> Project<'a> {
    fn new(docker: &'a Docker, folder: PathBuf) -> Self {
        lay_out_project(&folder);
        docker.make_base(BASE, &built("kittyd"));
        Self { docker, folder }
    }

    fn compose(&self, arguments: &[&str], input: Stdio) -> Finished {
        let mut command = self.docker.command(&["compose"]);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("BASE", BASE)
            .env("DOCKER_SOCKET", self.docker.socket())
            .env("KITTY_MAXIMUM", "5s")
            .stdin(input);
        let output = command.output().unwrap();
        output.into()
    }

    fn kittyctl(&self, arguments: &[&str], input: Stdio) -> Finished {
        self.compose(&[&["exec", "-T", "kittyd", "kittyctl"], arguments].concat(), input)
    }
}

impl Drop for Project<'_> {
    /// Its network is this machine's, and would outlive the Engine.
    fn drop(&mut self) {
        let down = self.compose(&["down", "--volumes", "--timeout", "10"], Stdio::null());
        if !std::thread::panicking() {
            assert_eq!(down.code, 0, "{down}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_of_the_compose_file_go_through_the_suite_of_the_manual() {
    let sandbox = Sandbox::new();
    let docker = Docker::new(&sandbox).await;
    let plugins =
        env::var("KITTY_TEST_COMPOSE").expect("KITTY_TEST_COMPOSE is not set: tests/run fetches it");
    symlink(Path::new(&plugins).join("cli-plugins"), sandbox.path().join("docker/cli-plugins")).unwrap();
    let project = Project::new(&docker, sandbox.path().join("project"));
    let up = project.compose(&["up", "--build", "--detach"], Stdio::null());
    assert_eq!(up.code, 0, "{up}");
    eventually("all six are targets", async || {
        let listed = project.kittyctl(&["target", "list", "-o", "name"], Stdio::null());
        (listed.stdout.lines().count() == 6).then_some(())
    })
    .await;
    let suite = File::open(project.folder.join("suite.json")).unwrap();
    let done = project.kittyctl(&["experiment", "build", "-f", "-", "--wait"], suite.into());
    assert_eq!(done.code, 0, "{done}");
    assert_eq!(done.stdout.matches("FINISHED").count(), 3, "{done}");
    assert!(done.stderr.contains("cpuBurn.sh on chaos-kitty-mongo-1"), "{done}");
}
