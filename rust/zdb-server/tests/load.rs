//! The load generator and the null server of the examples: what they count is what happened.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn example(name: &str) -> Command {
    let here = std::env::current_exe().expect("a path");
    let folder = here.parent().and_then(|deps| deps.parent());
    Command::new(folder.expect("a target folder").join("examples").join(name))
}

/// A server that is killed at the end.
struct Served(Child, u16, PathBuf);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.2);
    }
}

fn serve(name: &str, arguments: &dyn Fn(u16, &str) -> Vec<String>) -> Served {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = probe.local_addr().expect("bound").port();
    drop(probe);
    let folder = std::env::temp_dir().join(format!("zdb-load-{}-{port}", std::process::id()));
    let words = arguments(port, &folder.display().to_string());
    let child = example(name).args(words).stderr(Stdio::null()).spawn();
    let served = Served(child.expect("built"), port, folder);
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < until, "{name} does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    served
}

fn load(port: u16, words: &str) -> Output {
    let mut command = example("load");
    command.args(["--port", &port.to_string()]);
    command.args(words.split(' ')).output().expect("built")
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn null(port: u16, _: &str) -> Vec<String> {
    vec![port.to_string(), "700".to_owned()]
}

fn zdb(port: u16, folder: &str) -> Vec<String> {
    let line = format!(
        "--data {folder}/d --index {folder}/i --listen 127.0.0.1 --port {port} --sync none --mode user"
    );
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn every_request_is_answered_and_counted_once() {
    let served = serve("null", &null);
    for words in [
        "--command get --clients 7 --depth 16 --requests 1001",
        "--command set --clients 3 --depth 1 --requests 1001 --bytes 5000",
        "--command set --clients 3 --depth 64 --requests 1001 --bytes 70000",
    ] {
        let text = told(&load(served.1, words));
        assert!(text.contains("\"requests\": 1001, \"nil\": 0,"), "{text}");
    }
}

#[test]
fn time_ends_a_run() {
    let served = serve("null", &null);
    let began = Instant::now();
    told(&load(served.1, "--command get --seconds 0.2"));
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn what_is_filled_is_found_and_every_set_is_a_write() {
    let served = serve("serve", &zdb);
    let keys = "--keys 300 --bytes 9";
    told(&load(
        served.1,
        &format!("--command fill --requests 300 {keys}"),
    ));
    for command in ["get", "set"] {
        let words = format!("--command {command} --depth 16 --requests 2000 {keys}");
        let text = told(&load(served.1, &words));
        assert!(text.contains("\"requests\": 2000, \"nil\": 0,"), "{text}");
    }
    let text = told(&load(served.1, "--command get --keys 600 --requests 2000"));
    assert!(!text.contains("\"nil\": 0,"), "{text}");
}

#[test]
fn an_error_ends_a_run() {
    let served = serve("serve", &zdb);
    let output = load(
        served.1,
        "--command set --clients 1 --requests 1 --bytes 8388609",
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
