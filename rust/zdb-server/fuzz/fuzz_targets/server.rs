//! Any bytes sent to a whole server: everything is answered or refused, and the next client is served.
#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

/// Longer than any request may take; a WAIT is cut off by the end of the connection.
const PATIENCE: Duration = Duration::from_secs(10);

fn connect(path: &PathBuf) -> UnixStream {
    for _ in 0..1000 {
        if let Ok(stream) = UnixStream::connect(path) {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            return stream;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the server does not listen");
}

fn server() -> &'static PathBuf {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("zdb-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("socket");
        let word = |name: &str| folder.join(name).display().to_string();
        let (data, index, socket) = (word("data"), word("index"), word("socket"));
        std::thread::spawn(move || {
            let options = ["--data", &data, "--index", &index, "--socket", &socket, "--sync", "none"];
            let code = tfgrid_zdb_server::main(&options.map(str::to_owned));
            eprintln!("the server ended with {code}");
            std::process::abort();
        });
        drop(connect(&path));
        path
    })
}

fuzz_target!(|data: &[u8]| {
    // STOP is meant to end it, and memory is not what is tried here.
    let upper = data.to_ascii_uppercase();
    if data.len() < 2 || upper.windows(4).any(|word| word == b"STOP") {
        return;
    }
    let (head, bytes) = data.split_at(1);
    let mut client = connect(server());
    // In two pieces, at any place.
    let cut = usize::from(head[0]) * bytes.len() / 256;
    for piece in [&bytes[..cut], &bytes[cut..]] {
        if client.write_all(piece).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    let waits = upper.windows(4).any(|word| word == b"WAIT" || word == b"RROR");
    if !waits {
        let mut replies = Vec::new();
        let _ = client.read_to_end(&mut replies);
    }
    let mut other = connect(server());
    other.write_all(b"*1\r\n$4\r\nPING\r\n").expect("sent");
    let mut answer = [0; 7];
    other.read_exact(&mut answer).expect("the next client is served");
    assert_eq!(&answer, b"+PONG\r\n");
});
